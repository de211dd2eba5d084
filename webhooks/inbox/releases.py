"""Which releases ran here, and when each was first seen: the marks of deploys on the charts."""

from webhooks.models import Release

_noted: set[str] = set()
"""What this process has noted, so that it asks the database once."""


def seen(name: str) -> None:
    """Note that a release runs, unless it is noted already. Raises the database's errors."""
    if not name or name in _noted:
        return
    Release.objects.bulk_create([Release(name=name[:100])], ignore_conflicts=True)
    _noted.add(name)
