"""Notices changed files of your own apps. It polls them, which needs no library and works on any system."""

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 1.0


class Changes:
    """The Python files of some folders as they were at the last look."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)
        self._reported = self._look()
        self._latest = self._reported
        self._next_at = 0.0

    def are_complete(self) -> bool:
        """Return True once after a change: as soon as two looks in a row find the same files.

        The first look may be too early. Editors write a file in several steps, and a checkout of Git writes many files.
        """
        if time.monotonic() < self._next_at:
            return False
        before, self._latest = self._latest, self._look()
        self._next_at = time.monotonic() + LOOK_SECONDS
        if self._latest == self._reported or self._latest != before:
            return False
        self._reported = self._latest
        return True

    def _look(self) -> dict[Path, int]:
        modified_at: dict[Path, int] = {}
        for folder in self._folders:
            for file in folder.rglob("*.py"):
                with suppress(OSError):  # It has just been removed.
                    modified_at[file] = file.stat().st_mtime_ns
        return modified_at
