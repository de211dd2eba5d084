"""Rows that hold the values of the latest event, in whatever order the events come.

GitHub promises no order and redelivers, and a handler may run twice, also at the same time. So each row has the version
of the event that last changed it, and an older version changes nothing. The same events, in any order and any number of
times, lead to the same rows.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Self, TypeVar

from django.db import models, transaction

from webhooks import Event

BATCH = 500
"""Rows locked and looked at in one transaction: an installation may list tens of thousands of repositories."""
VERSION = ("changed_at", "heard_at", "changed_by")
LONG_AGO = datetime.fromtimestamp(0, tz=UTC)
"""Before every moment in GitHub's events: GitHub started in 2008."""


class LatestRow(models.Model):
    """A row that only a later event may change."""

    changed_at = models.DateTimeField(
        null=True, help_text="The moment the payload gave for the change; empty where it gave none."
    )
    heard_at = models.DateTimeField(help_text="When the delivery that last changed this row was received.")
    changed_by = models.CharField(max_length=100, help_text="The GUID of that delivery.")

    SCOPE: ClassVar[str]
    """The field that all rows of one call share; with IDENTITY it is unique."""
    IDENTITY: ClassVar[str]
    LATEST: ClassVar[tuple[str, ...]]
    """The fields that the latest event decides."""
    FOR_GOOD: ClassVar[tuple[str, ...]] = ()
    """Moments that no event removes; the earliest is kept."""
    BY_OTHER_RULES: ClassVar[tuple[str, ...]] = ()
    """Fields that a model's own `take_over` decides."""

    class Meta:
        abstract = True

    @classmethod
    def heard(cls, event: Event, changed_at: datetime | None, **fields: Any) -> Self:
        """Return a row with the event's values, not yet stored."""
        return cls(changed_at=changed_at, heard_at=event.received_at, changed_by=event.delivery, **fields)

    @property
    def version(self) -> tuple[datetime, datetime, str]:
        """The order of two events: by GitHub's moment, then by Hookline's, then by GUID, so that no two are equal."""
        return (self.changed_at or LONG_AGO, self.heard_at, self.changed_by)

    def take_over(self, heard: Self) -> bool:
        """Take the newer values of another row into this one; return whether that changed anything."""
        changed = self.version < heard.version
        if changed:
            for name in (*self.LATEST, *VERSION):
                setattr(self, name, getattr(heard, name))
        for name in self.FOR_GOOD:
            mine, theirs = getattr(self, name), getattr(heard, name)
            if theirs is not None and (mine is None or theirs < mine):
                setattr(self, name, theirs)
                changed = True
        return changed


Row = TypeVar("Row", bound=LatestRow)


def keep_latest(heard: Iterable[Row]) -> list[Row]:
    """Insert the new rows, change those that are older, and return all of them as stored.

    The rows must be of one model and share their scope. Each batch is a transaction of its own: if one fails, call this
    again with all rows.
    """
    # Every worker locks in this order, so that two workers with the same rows never wait for each other in a circle.
    unique = {getattr(row, row.IDENTITY): row for row in heard}
    rows = [unique[identity] for identity in sorted(unique)]
    stored: list[Row] = []
    for start in range(0, len(rows), BATCH):
        with transaction.atomic():
            stored += _keep_batch(rows[start : start + BATCH])
    return stored


def _keep_batch(rows: list[Row]) -> list[Row]:
    model = type(rows[0])
    heard = {getattr(row, model.IDENTITY): row for row in rows}
    model._default_manager.bulk_create(rows, ignore_conflicts=True)
    same = {model.SCOPE: getattr(rows[0], model.SCOPE), f"{model.IDENTITY}__in": list(heard)}
    # No key changes (no_key), so rows with foreign keys to these may be inserted meanwhile, in any order of locks.
    stored = list(model._default_manager.filter(**same).select_for_update(no_key=True).order_by(model.IDENTITY))
    changed = [row for row in stored if row.take_over(heard[getattr(row, model.IDENTITY)])]
    model._default_manager.bulk_update(changed, [*model.LATEST, *model.FOR_GOOD, *model.BY_OTHER_RULES, *VERSION])
    return stored
