"""Rows of the installed apps that are pruned like deliveries: an app names its model in `AppConfig.ready`.

    prune_old_rows(ScanRequest, inserted_at="requested_at")

The retention then removes rows that were inserted more than HOOKLINE_KEEP_DAYS ago. No foreign key may refer to them:
they are deleted without a look at other tables.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Model, QuerySet


class _Kind(NamedTuple):
    model: type[Model]
    inserted_at: str


_kinds: dict[type[Model], _Kind] = {}


def prune_old_rows(model: type[Model], *, inserted_at: str) -> None:
    """Have rows of this model pruned; `inserted_at` is the field with the moment of a row's insert."""
    _kinds[model] = _Kind(model, inserted_at)


class OldRows(NamedTuple):
    """A batch of rows to remove, and the moment of insert of the last row that was read."""

    rows: QuerySet[Any]
    reached: datetime


def old_rows(before: datetime, *, batch: int) -> Iterator[OldRows]:
    """Yield rows inserted before a moment, in batches along the primary key, which grows with the moment of insert."""
    for model, inserted_at in _kinds.values():
        rows, last = model._default_manager.order_by("pk"), 0
        while read := list(rows.filter(pk__gt=last).values_list("pk", inserted_at)[:batch]):
            last = read[-1][0]
            old = [pk for pk, moment in read if moment < before]
            if not old:
                break
            yield OldRows(model._default_manager.filter(pk__in=old), read[-1][1])
