"""Calls of GitHub's API that would have changed something, and were recorded in place of being sent.

Whoever holds them back notes them here; the command that has run the handlers prints them. They are this process's own.
"""

from typing import NamedTuple

MOST = 1_000
"""How many are kept. The others are counted."""


class RecordedCall(NamedTuple):
    """One call. `summary` says what its body held, short enough for a line, and holds no secret."""

    method: str
    url: str
    summary: str


_calls: list[RecordedCall] = []
_dropped = 0


def note(method: str, url: str, summary: str = "") -> None:
    """Keep a call that was not sent."""
    global _dropped  # noqa: PLW0603  Of the whole process, as the calls are.
    if len(_calls) < MOST:
        _calls.append(RecordedCall(method, url, summary))
    else:
        _dropped += 1


def taken() -> tuple[list[RecordedCall], int]:
    """Return the calls that were noted since the last time, and how many more there were; and forget them."""
    global _dropped  # noqa: PLW0603
    found, dropped = list(_calls), _dropped
    _calls.clear()
    _dropped = 0
    return found, dropped
