"""Which releases ran here, and when each was first seen: the marks of deploys on the charts."""

from collections.abc import Callable
from datetime import datetime

from webhooks.models import Release

MOST_READ = 100
"""How many of the newest releases are looked at for a moment; what is older than all of them has no name."""

_noted: set[str] = set()
"""What this process has noted, so that it asks the database once."""


def seen(name: str) -> None:
    """Note that a release runs, unless it is noted already. Raises the database's errors."""
    if not name or name in _noted:
        return
    Release.objects.bulk_create([Release(name=name[:100])], ignore_conflicts=True)
    _noted.add(name)


def naming() -> Callable[[datetime | None], str]:
    """Return a function that names the newest release that had been seen at a moment; "" if none had."""
    newest = list(Release.objects.order_by("-first_seen_at", "-id").values_list("first_seen_at", "name")[:MOST_READ])

    def name_at(moment: datetime | None) -> str:
        return next((name for seen_at, name in newest if moment is not None and seen_at <= moment), "")

    return name_at
