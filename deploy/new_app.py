"""`python -m deploy.new_app NAME [DIR]`: `make app`. Lays out a small app with a handler and its tests."""

import shutil
import sys
import tempfile
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from string import Template

from deploy.own_apps import DEFAULT_FOLDER, OwnAppsError, folder_of

TEMPLATE = Path(__file__).with_name("app_template")
PLUGIN = 'pytest_plugins = ["webhooks.testing.plugin"]'
NEXT = """\
{app}/handlers.py has a handler; the admin shows what it returns.
{app}/test_handlers.py has its tests.

  make app-test APPS={name}{folder}
      runs its tests
  make run APPS={name}{folder}
      starts everything with it, and loads it again when you change it
  make send EVENT=pull_request
      sends it an event, from another terminal; `make inbox` counts the jobs
"""


def main(name: str, given_folder: str) -> int:
    """Write the app, and print what to do next or why it is not written; return the exit status."""
    try:
        folder = folder_of(given_folder)
        check_name(name)
        make_app(name, folder)
    except OwnAppsError as error:
        sys.stderr.write(f"hookline: {error}\n")
        return 1
    option = "" if folder == DEFAULT_FOLDER else f' DIR="{folder}"'
    sys.stdout.write(NEXT.format(app=folder / name, name=name, folder=option))
    if PLUGIN not in (folder / "conftest.py").read_text():
        sys.stdout.write(
            f"\nIts tests need this line in {folder / 'conftest.py'}, which was there before:\n  {PLUGIN}\n"
        )
    return 0


def check_name(name: str) -> None:
    """Refuse a name that Python cannot import, or that is taken. Raises OwnAppsError."""
    if not name:
        raise OwnAppsError("give the new app a name: make app NAME=acme")
    if not name.isidentifier() or iskeyword(name):
        raise OwnAppsError(f"NAME={name} is not a name that Python can import, such as acme or acme_bot.")
    if find_spec(f"django.contrib.{name}") or find_spec(name):
        raise OwnAppsError(f"NAME={name} is taken by a module of Python or of Hookline; choose another name.")


def make_app(name: str, folder: Path) -> None:
    """Write the app's files, all or none. Raises OwnAppsError."""
    app = folder / name
    if app.exists():
        raise OwnAppsError(f"{app} exists; nothing is changed.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as directory:
            draft = Path(directory) / name
            draft.mkdir()
            for template in TEMPLATE.iterdir():
                text = Template(template.read_text()).substitute(name=name)
                (draft / template.name.replace("-tpl", "")).write_text(text)
            shutil.move(draft, app)
        if not (folder / "conftest.py").exists():
            (folder / "conftest.py").write_text(f"{PLUGIN}\n")
    except OSError as error:
        raise OwnAppsError(f"{app} cannot be written: {error.strerror}.") from None


if __name__ == "__main__":
    sys.exit(main(*(argument.strip() for argument in (*sys.argv[1:], "", "")[:2])))
