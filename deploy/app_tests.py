"""`python -m deploy.app_tests APPS [DIR] …`: `make app-test`. Becomes pytest (exec), with your own apps installed."""

import os
import sys

from deploy.own_apps import OwnAppsError, folder_of, use


def main(apps: str = "", folder: str = "", *options: str) -> None:
    """Run the tests; exit with pytest's status, or with a sentence where there is nothing to test."""
    try:
        if not apps.strip():
            raise OwnAppsError("say which app's tests: make app-test APPS=acme")
        found = folder_of(folder)
        use(apps, found)
    except OwnAppsError as error:
        sys.exit(f"hookline: {error}")
    paths = [str(found / name.strip().replace(".", "/")) for name in apps.split(",")]
    # pytest's root directory is the apps' folder: this checkout's pyproject.toml is not for the tests of your apps.
    command = [sys.executable, "-m", "pytest", "--rootdir", str(found), *options, *paths]
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
