"""Makes the figures: a relay's upkeep counts the newest minutes again every ten seconds, from the rows themselves.

A minute is replaced as a whole, so counting it twice changes nothing. Of several relays one does it: it locks the row
of `FigureMark` while it counts, and the others see there that it is done. The row says up to which minute the figures
are final; a relay that was away goes on from there, in steps of half a second.

A minute is final five minutes after its end, since a row may come late: a worker that cannot reach the database records
an attempt once it can. After a gap, in which nobody made figures, one more minute is waited for such rows.
"""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from webhooks.inbox import due
from webhooks.inbox.database import database_time, skip_locked
from webhooks.inbox.figures.counting import count_hour, count_minute
from webhooks.models import Delivery, FigureMark, QueueMinute

EVERY_SECONDS = 10.0
BEHIND_SECONDS = 1.0
"""Pause between two steps of a relay that has minutes to catch up with."""
STEP_SECONDS = 0.5
GAP = timedelta(seconds=60)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LATE = 5 * MINUTE
FIRST = timedelta(days=2)
"""How far back the first figures of an installation reach; minutes are kept no longer (retention.py)."""

_MARK = 1


class Making:
    """The figures' part of a relay's upkeep. `step` may be called at any time, and mostly returns at once."""

    def __init__(self) -> None:
        self._next_at = 0.0

    def step(self) -> None:
        """Count what is due, for half a second or so. Raises the database's errors."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + (BEHIND_SECONDS if make() else EVERY_SECONDS)


def make() -> bool:
    """Count the newest minutes, unless a relay has just done so; tell whether older ones are left to count."""
    marks: QuerySet[Any] = FigureMark.objects.filter(pk=_MARK).annotate(now=Now())
    mark = marks.first() or (_begin() and marks.first())
    if not mark or not _is_due(mark, mark.now):  # Without a lock: mostly another relay has just done it.
        return False
    with transaction.atomic():
        mark = skip_locked(marks).first()
        if mark is None or not _is_due(mark, mark.now):
            return False
        now: datetime = mark.now
        if now - mark.written_at > GAP:
            mark.resumed_at = now
        for minute in _open_minutes(mark, now):
            count_minute(minute)
        _sample_queues(minute_of(now))
        has_turned = minute_of(mark.written_at) < minute_of(now)
        mark.written_at = now
        _save(mark, hours=[hour_of(now)] if has_turned else [])
    return _catch_up(now)


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _begin() -> bool:
    """Write the mark's row, if a delivery was ever received; the oldest says where to begin."""
    now = database_time()
    oldest = Delivery.objects.order_by("received_at").values_list("received_at", flat=True).first()
    if now is None or oldest is None:
        return False
    first = hour_of(max(oldest, now - FIRST))
    # Written long ago, so that this relay finds that it is time.
    mark = FigureMark(pk=_MARK, minutes_until=first, hours_until=first, written_at=first - GAP, resumed_at=first)
    FigureMark.objects.bulk_create([mark], ignore_conflicts=True)
    return True


def _is_due(mark: FigureMark, now: datetime) -> bool:
    """Tell whether it is time to count again; a little sooner, since a relay looks only so often itself."""
    is_behind = mark.minutes_until < _final_until(mark, now)
    return now - mark.written_at >= timedelta(seconds=BEHIND_SECONDS if is_behind else EVERY_SECONDS) * 0.8


def _final_until(mark: FigureMark, now: datetime) -> datetime:
    """Return until when minutes are final once they are counted. After a gap, late rows are still to come."""
    if now - mark.resumed_at < GAP:
        return mark.minutes_until
    return max(mark.minutes_until, minute_of(now) - LATE)


def _open_minutes(mark: FigureMark, now: datetime) -> Iterator[datetime]:
    """Yield the minutes whose rows still come. After a gap, also those that nobody has counted."""
    newest = minute_of(now)
    first = newest - LATE if mark.resumed_at == now else newest - MINUTE
    minute = max(first, mark.minutes_until)
    while minute <= newest:
        yield minute
        minute += MINUTE


def _catch_up(now: datetime) -> bool:
    """Count minutes a last time, one transaction each, until they are final; tell whether some are left."""
    deadline = time.monotonic() + STEP_SECONDS
    while time.monotonic() < deadline:
        with transaction.atomic():
            mark = skip_locked(FigureMark.objects.filter(pk=_MARK)).first()
            if mark is None or mark.minutes_until >= _final_until(mark, now):
                return False
            count_minute(mark.minutes_until)
            mark.minutes_until += MINUTE
            _save(mark, hours=[hour_of(mark.minutes_until - MINUTE)] if _ends_an_hour(mark, now) else [])
    return True


def _ends_an_hour(mark: FigureMark, now: datetime) -> bool:
    return mark.minutes_until.minute == 0 or mark.minutes_until >= _final_until(mark, now)


def _save(mark: FigureMark, *, hours: list[datetime]) -> None:
    """Count hours from their minutes, and write the mark. An hour is final with its last minute."""
    for hour in hours:
        count_hour(hour)
    mark.hours_until = max(mark.hours_until, hour_of(mark.minutes_until))
    mark.save(update_fields=["minutes_until", "hours_until", "written_at", "resumed_at"])


def _sample_queues(minute: datetime) -> None:
    """Write how much waits in each queue, and keep the most that was seen in this minute."""
    before = {row.queue: row for row in QueueMinute.objects.filter(at=minute)}
    rows = []
    for queue in due.waiting_queues():
        waiting = due.waiting_in(queue)
        seen = before.get(queue)
        jobs = max(waiting.jobs, seen.jobs if seen else 0)
        oldest_seconds = max(waiting.oldest_seconds, seen.oldest_seconds if seen else 0.0)
        if jobs:
            rows.append(QueueMinute(at=minute, queue=queue, jobs=jobs, oldest_seconds=oldest_seconds))
    QueueMinute.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["at", "queue"], update_fields=["jobs", "oldest_seconds"]
    )
