"""HOOKLINE_APPS as people write it: what is wrong with an app is one sentence, and says what to do."""

from pathlib import Path

import pytest
from django.conf import settings
from environs import ValidationError

import manage as command_line
from project.environment import app_names
from tests.support.brokers import repeated
from tests.support.processes import manage

FILES = {
    "a_single_module.py": "",
    "a_package/__init__.py": "",
    "a_package/apps.py": "from django.apps import AppConfig",
    "a_broken_package/__init__.py": "import nothing_of_that_name",
    "with_broken_handlers/__init__.py": "",
    "with_broken_handlers/handlers.py": "import nothing_of_that_name",
    "a_raising_package/__init__.py": "raise RuntimeError('boom')",
    "configured/__init__.py": "",
    "configured/apps.py": "from django.apps import AppConfig\nclass Own(AppConfig):\n    name = 'a_single_module'",
}
NO_NAME = "is not a name that Python can import, such as acme_bot or acme_bot.apps.AcmeConfig."
NOT_FOUND = "is not found; correct its name, install it here, or put the folder that holds it on PYTHONPATH."
SINGLE = "is a single module; name a package (a folder with __init__.py) that has its handlers in handlers.py."
FAILS = "is in a package whose import fails ({}); import it with Python to see why."


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["a_package", "a_package.apps.AcmeConfig", "json", "configured.apps.Own"])
def test_an_app_whose_module_is_there_is_taken(name: str) -> None:
    assert app_names(name) == [name]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *(
            (name, NO_NAME)
            for name in ("acme.", ".acme", "acme..bot", "acme-bot", "acme bot", "acme/bot", "class", "7")
        ),
        *((name, NOT_FOUND) for name in ("missing", "missing.bot", "a_package.missing", "missing.apps.AcmeConfig")),
        *((name, NOT_FOUND) for name in ("Missing", "a_single_module.apps.AcmeConfig")),
        *((name, SINGLE) for name in ("a_single_module", "a_package.apps")),
        ("a_broken_package.apps", FAILS.format("ModuleNotFoundError")),
        ("a_raising_package.apps.AcmeConfig", FAILS.format("RuntimeError")),
    ],
)
def test_an_app_that_cannot_be_one_is_refused_by_its_place(name: str, fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        app_names(f"a_package, {name}")
    assert caught.value.messages == [f"app 2 {fault}"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        repeated("a_broken_package", "ModuleNotFoundError: No module named 'nothing_of_that_name' ({}/__init__.py:1)"),
        ("with_broken_handlers", "ModuleNotFoundError: No module named 'nothing_of_that_name' ({}/handlers.py:1)"),
        repeated("a_raising_package", "RuntimeError: boom ({}/__init__.py:1)"),
        repeated("a_package.apps.Wrong", "ImportError: Module 'a_package.apps' does not contain a 'Wrong' class."),
        ("webhooks", "ImproperlyConfigured: Application labels aren't unique, duplicates: webhooks"),
    ],
)
def test_an_app_that_fails_as_it_is_imported_is_said_to_in_a_sentence(folder: Path, name: str, fault: str) -> None:
    done = manage("check", HOOKLINE_APPS=name, PYTHONPATH=folder, HOOKLINE_DATA_DIR=folder / "data")
    assert done.returncode == 1
    begin = "hookline: HOOKLINE_APPS: importing the apps fails with "
    assert done.stderr.startswith(begin + fault.format(folder / name))
    assert done.stderr.endswith("; mend that app, or correct its name; --traceback shows more\n")


@pytest.mark.parametrize("name", ["a_package", repeated("configured.apps.Own")])
def test_an_app_without_handlers_is_named(folder: Path, name: str) -> None:
    done = manage("check", HOOKLINE_APPS=name, PYTHONPATH=folder, HOOKLINE_DATA_DIR=folder / "data")
    assert done.returncode == 0
    told = name if name == "a_package" else "a_single_module"
    assert f"HOOKLINE_APPS names {told}, which has no handlers.py: it brings no handler." in done.stderr


def test_a_fault_of_hookline_itself_is_not_said_to_be_one_of_the_teams_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_up() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("django.setup", set_up)
    monkeypatch.setattr(settings, "HOOKLINE_APPS", settings.HOOKLINE_DEFAULT_APPS)
    with pytest.raises(RuntimeError, match="boom"):
        command_line._set_up()
    monkeypatch.setattr(settings, "HOOKLINE_APPS", ["acme"])
    with pytest.raises(SystemExit, match="HOOKLINE_APPS: importing the apps fails with RuntimeError: boom"):
        command_line._set_up()
