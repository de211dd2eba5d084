"""Removes what killed processes have left of coverage's data files: without a version in them, coverage warns of each.

`python -m tests.support.coverage_files`, in the folder of these files, before they are combined.
"""

import contextlib
import sqlite3
from pathlib import Path


def remove_unfinished(directory: Path) -> list[str]:
    """Remove them, and return their names."""
    removed = []
    # A file before its journal: opening it rolls back what the journal tells, and removes the journal.
    for file in sorted(directory.glob(".coverage.*"), key=lambda file: (file.name.endswith("-journal"), file.name)):
        if file.exists() and not _has_version(file):
            file.unlink()
            removed.append(file.name)
    return removed


def _has_version(file: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(file)) as database:
            return database.execute("SELECT version FROM coverage_schema").fetchone() is not None
    except sqlite3.Error:
        return False


if __name__ == "__main__":
    remove_unfinished(Path())
