"""Counts what a replay holds, exactly and by handler, slice by slice, for a bounded time; it can be gone on with."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count
from django.utils import timezone

from webhooks.inbox import transitions
from webhooks.inbox.database import database_time
from webhooks.inbox.replays import scope as scopes
from webhooks.inbox.replays.scope import Scope
from webhooks.models import Delivery, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """The last row that a replay may hold, and when it was confirmed, by the database's clock."""

    last_id: int
    cut_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How many jobs are in a scope, up to the row `reached`."""

    by_handler: Mapping[str, int] = field(default_factory=dict)
    without_payload: int = 0
    """How many would match and are left, since there is no payload to run them on."""
    reached: int = 0
    is_complete: bool = False

    @property
    def total(self) -> int:
        return sum(self.by_handler.values())


def freeze(scope: Scope) -> Frozen:
    """Return the bounds of what there is now."""
    return Frozen(last_id=scopes.newest_id(scope), cut_at=database_time() or timezone.now())


def count(scope: Scope, frozen: Frozen, *, seconds: float, before: Counted | None = None) -> Counted:
    """Count for so long at most, after what was counted before; at least one slice."""
    counted = before or Counted(reached=scopes.first_id(scope))
    ends_at = time.monotonic() + seconds
    while not counted.is_complete:
        counted = _next(scope, frozen, counted)
        if time.monotonic() >= ends_at:
            break
    return counted


def received_at(scope: Scope, counted: Counted) -> datetime | None:
    """Return when the last row that was counted came, to say how far an incomplete count has reached."""
    if scope.is_missing:
        return Delivery.objects.filter(pk=counted.reached).values_list("received_at", flat=True).first()
    return Job.objects.filter(pk=counted.reached).values_list("created_at", flat=True).first()


def _next(scope: Scope, frozen: Frozen, counted: Counted) -> Counted:
    found = scopes.next_slice(scope, after=counted.reached, last=frozen.last_id)
    tally = Counter(counted.by_handler)
    without = counted.without_payload
    if scope.is_missing:
        for lacking in scopes.lacking_among(scope, found.ids):
            tally[scope.handler] += lacking.has_payload
            without += not lacking.has_payload
    else:
        jobs: Any = scopes.jobs_among(scope, found.ids, cut_at=frozen.cut_at).order_by()
        with_payload = Count("pk", filter=transitions.HAS_PAYLOAD)
        for handler, all_of_them, runnable in jobs.values_list("handler").annotate(Count("pk"), runnable=with_payload):
            tally[handler] += runnable
            without += all_of_them - runnable
    by_handler = {handler: number for handler, number in sorted(tally.items()) if number}
    return Counted(by_handler=by_handler, without_payload=without, reached=found.end, is_complete=found.is_last)
