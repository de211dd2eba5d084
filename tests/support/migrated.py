"""Inboxes with their tables. Migrating takes a program some seconds: on SQLite, tests get copies of one inbox."""

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.support.processes import manage

FILE = "hookline.sqlite3"


def migrate(settings: Mapping[str, object]) -> None:
    """Give these settings' database its tables: as a copy, if it is on SQLite and is not there yet."""
    file = Path(str(settings["HOOKLINE_DATA_DIR"])) / FILE
    if settings.get("DATABASE_URL") or file.exists():
        _migrate(settings)
    else:
        file.write_bytes(_embedded(tuple((name, str(settings[name])) for name in _WHICH if name in settings)))


_WHICH = ("HOOKLINE_APPS", "PYTHONPATH")
"""The settings that say which tables there are."""


@cache
def _embedded(which: tuple[tuple[str, str], ...]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="hookline-migrated-") as directory:
        _migrate({"HOOKLINE_DATA_DIR": directory, **dict(which)})
        return (Path(directory) / FILE).read_bytes()


def _migrate(settings: Mapping[str, object]) -> None:
    done = manage("migrate", "-v0", **settings)
    assert done.returncode == 0, done.stderr
