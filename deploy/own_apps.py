"""Your own apps beside this checkout: where they are, and how the programs find them. Imports nothing of Django's."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_FOLDER = ROOT.parent / f"{ROOT.name}-apps"
"""Not the folder around this checkout: on PYTHONPATH, it would make everything else in it importable."""


class OwnAppsError(Exception):
    """A sentence for the person who named the app or the folder."""


def folder_of(given: str) -> Path:
    """Return the folder that DIR names, or the default one."""
    try:
        return Path(given).expanduser().resolve() if given else DEFAULT_FOLDER
    except RuntimeError:
        raise OwnAppsError(f"DIR={given} names the home directory of a user that does not exist.") from None


def use(names: str, folder: Path) -> None:
    """Let this process and its child processes import these apps and run their handlers. Without names, do nothing."""
    if not names.strip():
        return
    for name in (name.strip() for name in names.split(",")):
        package = name.partition(".")[0]
        if not (folder / package).is_dir() and find_spec(package or "-") is None:
            raise OwnAppsError(
                f"APPS={names}: there is no {name} in {folder}. `make app NAME=…` lays out an app there, "
                "and DIR=… names another folder."
            )
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    os.environ["HOOKLINE_APPS"] = names
