"""Notices changed files of the team's own apps, by looking at them again and again: no library, on any system."""

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 1.0


class Changes:
    """The Python files of some folders as they were at the last look."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)
        self._known = self._now()
        self._last = self._known
        self._next_at = 0.0

    def are_complete(self) -> bool:
        """Tell whether files have changed since the last time this was true, and none since the last look.

        Editors write a file in several steps, and a checkout of Git writes many.
        """
        if time.monotonic() < self._next_at:
            return False
        before, self._last = self._last, self._now()
        self._next_at = time.monotonic() + LOOK_SECONDS
        if self._last == self._known or self._last != before:
            return False
        self._known = self._last
        return True

    def _now(self) -> dict[Path, int]:
        moments: dict[Path, int] = {}
        for folder in self._folders:
            for file in folder.rglob("*.py"):
                with suppress(OSError):  # It has just been removed.
                    moments[file] = file.stat().st_mtime_ns
        return moments
