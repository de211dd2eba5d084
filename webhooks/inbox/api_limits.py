"""What is known of GitHub's rate limit of each installation: one row each, noted by every worker that hears of it.

Workers read it as they claim (`postgresql.py`, `sqlite.py`), the console as it says why a job waits.
"""

import random
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from webhooks.github_api.budget import RESERVE, Seen
from webhooks.inbox.claimed_job import Wanted
from webhooks.inbox.held_jobs import MOST, MOST_ROUNDS, SPREAD_SECONDS
from webhooks.models import ApiLimit, Job
from webhooks.replay_queues import is_replay_queue
from webhooks.states import JobState

Installation = tuple[str, int]
"""A source's name, and the installation's id there."""


def note(seen: Mapping[Installation, Seen]) -> None:
    """Note what the last answers have said. A limit that is reached stays so until its end, whatever comes later."""
    counted = [_row(of, one) for of, one in sorted(seen.items()) if one.most is not None]
    _write(counted, ["remaining", "most", "resets_at", "seen_at"])
    _write([_row(of, one) for of, one in sorted(seen.items()) if one.closed_seconds > 0], ["until", "seen_at"])


def _row(of: Installation, seen: Seen) -> ApiLimit:
    source, installation = of
    return ApiLimit(
        source=source,
        installation_id=installation,
        remaining=seen.remaining,
        most=seen.most,
        resets_at=Now() + timedelta(seconds=seen.resets_in_seconds) if seen.most is not None else None,
        until=Now() + timedelta(seconds=seen.closed_seconds) if seen.closed_seconds > 0 else None,
        seen_at=Now(),
    )


def _write(rows: list[ApiLimit], fields: list[str]) -> None:
    if rows:
        ApiLimit.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["source", "installation_id"], update_fields=fields
        )


def reached(*, is_replay: bool) -> QuerySet[ApiLimit]:
    """Return the limits that are reached; for replayed jobs also those of which only the reserve is left."""
    is_reached = Q(until__gt=Now())
    if is_replay:
        is_reached |= Q(resets_at__gt=Now(), remaining__lte=F("most") * RESERVE)
    return ApiLimit.objects.filter(is_reached)


def reached_until(source: str, installation_id: int, *, is_replay: bool, now: datetime) -> datetime | None:
    """Return until when the jobs of an installation wait for its limit, or None."""
    limit = reached(is_replay=is_replay).filter(source=source, installation_id=installation_id).first()
    return limit.ends_at(now) if limit else None


def put_off(waiting: QuerySet[Job], wanted: Wanted) -> bool:
    """Put off due jobs whose installation has no call left; return whether those that may be claimed now have one.

    For SQLite. If there are too many, the next claim goes on.
    """
    limits = reached(is_replay=is_replay_queue(wanted.queue or "")).annotate(now=Now())
    ends = {(limit.source, limit.installation_id): limit.ends_at(limit.now) for limit in limits}
    if not ends:
        return True
    using = waiting.filter(handler__in=wanted.api_handlers)
    for _ in range(MOST_ROUNDS):
        due = list(using.values_list("pk", "delivery__source__name", "delivery__installation_id")[:MOST])
        found = [(pk, ends.get((source, installation or 0))) for pk, source, installation in due]
        held = [(pk, until) for pk, until in found if until is not None]
        _move(held)
        if len(due) < MOST or MOST - len(held) >= wanted.limit:
            return True
    return False


def _move(held: Iterable[tuple[int, datetime]]) -> None:
    for pk, until in held:
        spread = timedelta(seconds=random.uniform(0, SPREAD_SECONDS))  # noqa: S311  Nobody gains by guessing it.
        job = Job.objects.filter(pk=pk)
        if not job.filter(order_key=None).update(due_at=until, publish_at=until + spread):
            # It gives up its turn with that, as any that is put off: a relay passes it on (`late_turns.py`).
            job.update(due_at=until, publish_at=None, state=JobState.RETRYING)
