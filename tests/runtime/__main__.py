"""`python -m tests.runtime`: hold that what requirements.lock installs is all that Hookline needs. See `make help`."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.runtime import names, roles
from tests.support import services
from tests.support.processes import ROOT, environment_without_settings


def main() -> int:
    # A machine may have no time zones of its own: none of its are used here, nor by what is started from here.
    assert os.environ.get("PYTHONTZPATH") == "", "PYTHONTZPATH must be empty; see the Makefile"
    if unlocked := names.unlocked_packages(ROOT / "requirements.lock"):
        print(f"{sys.prefix} holds more than requirements.lock: {', '.join(sorted(unlocked))}")
        return 1
    with tempfile.TemporaryDirectory(prefix="hookline-runtime-") as directory:
        if sentences := _missing(Path(directory) / "names"):
            print("\n".join(sentences))
            return 1
        failures = sum(not _passes(name, run, Path(directory) / name) for name, run in _runs())
        return 1 if failures else 0


def _missing(directory: Path) -> list[str]:
    for name in os.environ.keys() - environment_without_settings(os.environ).keys():
        del os.environ[name]
    os.environ |= {"DJANGO_SETTINGS_MODULE": "project.settings", "HOOKLINE_DATA_DIR": str(directory)}
    import django

    django.setup()
    return list(names.missing_names())


def _runs() -> list[tuple[str, Callable[[Path], None]]]:
    """Return what is run, by its name; a pair whose service is away is left out, or fails where all are required."""
    found: list[tuple[str, Callable[[Path], None]]] = [("everything-at-once", roles.start_everything_at_once)]
    for database, broker in roles.PAIRS:
        absent = sorted(roles.needed_services(database, broker) & services.missing())
        if absent and not services.REQUIRED:
            print(f"not run for want of a service: {', '.join(absent)}")
            continue
        found.append((f"{database}-{broker}", partial(roles.drive, database=database, broker=broker)))
    return found


def _passes(name: str, run: Callable[[Path], None], directory: Path) -> bool:
    begun_at = time.monotonic()
    directory.mkdir()
    try:
        run(directory)
    except Exception as error:
        print(f"{name}: FAILED: {type(error).__name__}: {error}")
        return False
    print(f"{name}: every role and command, {time.monotonic() - begun_at:.0f} s")
    return True


if __name__ == "__main__":
    sys.exit(main())
