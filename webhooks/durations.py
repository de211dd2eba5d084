"""Durations in words, for pages and the terminal."""

from datetime import datetime, timedelta

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def relative(at: datetime, *, now: datetime) -> str:
    """Return how far a moment is from now: "3 min ago", "in 2 h"."""
    distance = now - at
    if abs(distance) < timedelta(seconds=1):
        return "now"
    if distance > timedelta():
        return f"{rough(distance)} ago"
    return f"in {rough(-distance)}"


def rough(distance: timedelta) -> str:
    """Return a duration in its largest unit, rounded down: "3 min"."""
    seconds = int(distance.total_seconds())
    for length, name in _UNITS:
        if seconds >= length:
            return f"{seconds // length} {name}"
    return "0 s"


def took(duration: timedelta) -> str:
    """Return a run's duration: "420 ms" or "1.2 s"; from a minute on like `rough`."""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    return f"{seconds:.1f} s" if seconds < 60 else rough(duration)
