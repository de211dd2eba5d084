"""Carries out replays: the relay takes a step a second. It may be killed at any moment, and several may run.

A step is one transaction: it locks the replay's row, queues the next jobs, and notes how far it has come. So a step
that is lost is taken again as if it had not been, and no job is queued twice.

Live jobs go first in any case, since replayed jobs wait in replay queues. Besides, a replay has no more than MOST_OPEN
jobs that wait, run or are retried: if all of them fail again, the others are left alone until somebody looks.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.db import transaction
from django.utils import timezone

from webhooks.inbox import audit, missing, transitions, turns
from webhooks.inbox.database import database_time
from webhooks.inbox.missing import MissingJob
from webhooks.inbox.replays import counting, life
from webhooks.inbox.replays import scope as scopes
from webhooks.inbox.replays.counting import Counted, Frozen
from webhooks.inbox.replays.scope import Scope, Slice
from webhooks.models import Delivery, Job, Replay, ReplayItem
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

MOST_OPEN = 500
MOST_AT_ONCE = 200
"""How many jobs one step queues at most. It takes some 50 ms."""
MOST_SLICES = 3
"""How many slices of rows one step reads at most, where few of them match."""
MOST_SAVED_SECONDS = 2.0
"""For how long jobs that a replay did not queue may be made up for."""
COUNT_SECONDS = 0.3
FINAL = (JobState.SUCCEEDED, JobState.DEAD, JobState.SKIPPED)

logger = logging.getLogger(__name__)


def step() -> None:
    """Take each replay a step further. Raises the database's errors."""
    for replay in Replay.objects.filter(is_active=True).order_by("pk"):
        if replay.total is None and replay.state == Replay.State.RUNNING:
            _count_on(replay)
        else:  # Also if it queues nothing more: what it has queued ends.
            advance(replay.pk)


def _count_on(replay: Replay) -> None:
    """Count for a short time. Nothing is locked meanwhile: of two that count, one is heard."""
    without = replay.without_payload
    before = Counted(by_handler=replay.by_handler, without_payload=without, reached=replay.counted_to)
    frozen = Frozen(last_id=replay.last_id, cut_at=replay.cut_at)
    counted = counting.count(Scope.from_json(replay.filters), frozen, seconds=COUNT_SECONDS, before=before)
    with transaction.atomic():
        life.take_count(replay, counted)


@transaction.atomic
def advance(replay_id: int) -> None:
    """Note which jobs have ended, and queue those whose turn it is, unless another relay is just doing so."""
    replay = life.locked(replay_id, is_waiting=False)
    if replay is None:
        return
    _settle(replay)
    still_open = ReplayItem.objects.filter(replay=replay, is_open=True).count()
    if replay.state == Replay.State.RUNNING and not replay.has_reached_end:
        still_open += _release(replay, room=MOST_OPEN - still_open)
    if replay.state == Replay.State.RUNNING and replay.has_reached_end and not still_open:
        _finish(replay)
    replay.is_active = still_open > 0 or replay.state not in life.ENDED
    replay.save()


def _settle(replay: Replay) -> None:
    """Count what has ended. Of what has succeeded no item is kept: the job's page tells of the replay."""
    items = ReplayItem.objects.filter(replay=replay, is_open=True)
    ended = list(items.filter(job__state__in=FINAL).values_list("pk", "job__state", "job__error"))
    replay.done += sum(state == JobState.SUCCEEDED for _, state, _ in ended)
    replay.failed += sum(state == JobState.DEAD for _, state, _ in ended)
    ReplayItem.objects.filter(pk__in=[pk for pk, state, _ in ended if state != JobState.DEAD]).delete()
    failed = [ReplayItem(pk=pk, is_open=False, error=error) for pk, state, error in ended if state == JobState.DEAD]
    ReplayItem.objects.bulk_update(failed, ["is_open", "error"], batch_size=MOST_AT_ONCE)


def _release(replay: Replay, *, room: int) -> int:
    """Queue as many jobs as the rate and the room allow; return how many."""
    now = database_time() or timezone.now()
    wanted = min(allowance(replay.rate, replay.released_at, now=now), room, MOST_AT_ONCE)
    released = 0
    for _ in range(MOST_SLICES):
        if released >= wanted or replay.has_reached_end:
            break
        released += _release_next(replay, wanted - released)
    if released:
        replay.released += released
        replay.released_at = now
    return released


def allowance(rate: float, released_at: datetime | None, *, now: datetime) -> int:
    """Return how many jobs may be queued now, `released_at` being when some were last."""
    if released_at is None:
        return max(1, int(rate))
    saved = max(MOST_SAVED_SECONDS, 1 / rate)
    return int(rate * min(saved, (now - released_at) / timedelta(seconds=1)) + 1e-6)


@dataclass(frozen=True, slots=True)
class _Queued:
    """A job that was queued, as an item of the replay."""

    job_id: int
    delivery_id: int
    handler: str
    was: str


def _release_next(replay: Replay, wanted: int) -> int:
    """Queue the next jobs of one slice, so many at most, and move the cursor behind them."""
    scope = Scope.from_json(replay.filters)
    if not replay.cursor:
        replay.cursor = scopes.first_id(scope)
    found = scopes.next_slice(scope, after=replay.cursor, last=replay.last_id)
    queue_next = _make_missing if scope.is_missing else _run_again
    queued, end = queue_next(replay, scope, found, wanted)
    replay.cursor = found.end if end is None else end
    replay.has_reached_end = found.is_last and end is None
    ReplayItem.objects.bulk_create(
        ReplayItem(replay=replay, job_id=one.job_id, delivery_id=one.delivery_id, handler=one.handler, was=one.was)
        for one in queued
    )
    if replay.change is not None:
        audit.note_jobs(replay.change, [one.job_id for one in queued])
    return len(queued)


def _run_again(replay: Replay, scope: Scope, found: Slice, wanted: int) -> tuple[list[_Queued], int | None]:
    """Queue jobs again; return them, and the last row that was looked at if there are more in the slice."""
    jobs = scopes.jobs_among(scope, found.ids, cut_at=replay.cut_at)
    ids = list(jobs.order_by("pk").values_list("pk", flat=True)[: wanted + 1])
    again = transitions.replay(Job.objects.filter(pk__in=ids[:wanted], state=scope.state))
    queued = [_Queued(job.pk, job.delivery_id, job.handler, job.state) for job in again]
    return queued, ids[wanted - 1] if len(ids) > wanted else None


def _make_missing(replay: Replay, scope: Scope, found: Slice, wanted: int) -> tuple[list[_Queued], int | None]:
    """Make missing jobs; return what `_run_again` does."""
    subscription = installed_subscriptions().get(scope.handler)
    lacking = list(islice((one for one in scopes.lacking_among(scope, found.ids) if one.has_payload), wanted + 1))
    if subscription is None or not lacking:
        return [], None
    wanted_jobs = [
        MissingJob(
            delivery_id=one.delivery_id,
            subscription=subscription,
            once_key=one.once_key,
            keys=one.keys,
            is_replay=True,
        )
        for one in lacking[:wanted]
    ]
    turns.lock(missing.keys_of(wanted_jobs))  # Before any row, as everywhere.
    # With its row held, retention leaves a delivery alone.
    held = Delivery.objects.filter(pk__in=[one.delivery_id for one in wanted_jobs]).order_by("pk")
    there = set(held.select_for_update(of=("self",)).values_list("pk", flat=True))
    made = missing.make([one for one in wanted_jobs if one.delivery_id in there])
    queued = [_Queued(job.id, delivery_id, job.handler, "") for delivery_id, job in made]
    return queued, lacking[wanted - 1].delivery_id if len(lacking) > wanted else None


def _finish(replay: Replay) -> None:
    replay.state = Replay.State.FINISHED
    replay.finished_at = database_time() or timezone.now()
    replay.skipped = max(0, (replay.total or 0) - replay.done - replay.failed)
    figures = {"total": replay.total, "done": replay.done, "failed": replay.failed, "skipped": replay.skipped}
    logger.info("replay finished", extra={"replay": replay.pk, **figures})
