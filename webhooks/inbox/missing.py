"""Makes the jobs that stored deliveries lack: of handlers that did not exist, or did not match, as they came.

Where a handler has one job for an event that several hooks send, the job may have been another delivery's that has been
pruned since. So such a job is made only while no delivery of the same event can have been pruned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from webhooks.inbox import turns
from webhooks.inbox.new_delivery import NO_KEYS, JobToPublish
from webhooks.inbox.turns import Keys
from webhooks.models import Job
from webhooks.replay_queues import replay_queue
from webhooks.states import JobState
from webhooks.subscriptions.keys import JobKeys
from webhooks.subscriptions.subscription import Subscription

_COLUMNS = (
    *("delivery_id", "handler", "queue", "max_attempts", "once_key", "fair_key", "order_key", "latest_key", "state"),
    *("attempt", "forgiven", "lost", "budget_from_attempt", "result", "error", "fingerprint"),
)
_UNTOUCHED = (JobState.QUEUED.value, 0, 0, 0, 0, "", "", "")
ROWS_AT_ONCE = 200
REDELIVERED_DAYS = 3
"""How long after an event GitHub redelivers it:
https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks"""


def has_all_twins() -> Q:
    """Return the condition on deliveries under which all others of the same event are still in the inbox."""
    return Q(received_at__gt=Now() - timedelta(days=settings.HOOKLINE_KEEP_DAYS - REDELIVERED_DAYS))


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingJob:
    """A job that a stored delivery may lack."""

    delivery_id: int
    subscription: Subscription
    once_key: str | None
    keys: JobKeys = NO_KEYS
    is_replay: bool = False
    """Whether it goes behind all live jobs of its queue."""

    def values(self) -> tuple[Any, ...]:
        queue = self.subscription.queue
        return (
            self.delivery_id,
            self.subscription.name,
            replay_queue(queue) if self.is_replay else queue,
            self.subscription.max_attempts,
            self.once_key,
            *self.keys,
            *_UNTOUCHED,
        )


@transaction.atomic
def make(wanted: Sequence[MissingJob]) -> list[tuple[int, JobToPublish]]:
    """Make these jobs, and return each that was made with its delivery. The caller holds their deliveries' rows.

    Not made is a job that is there already, for this delivery or, where there is one for an event, for another hook's.
    """
    made: list[tuple[int, JobToPublish]] = []
    with turns.held(keys_of(wanted)):
        for start in range(0, len(wanted), ROWS_AT_ONCE):
            made += _insert([each.values() for each in wanted[start : start + ROWS_AT_ONCE]])
        # Only now may a worker claim them. As for all moments, it is the database's clock that counts.
        Job.objects.filter(pk__in=[job.id for _, job in made], order_key=None).update(publish_at=Now())
    return made


def keys_of(wanted: Sequence[MissingJob]) -> Keys:
    """Return the keys of jobs that are to be made. Whoever holds rows meanwhile locks them before."""
    return Keys.of_pairs((each.keys.order, each.keys.latest) for each in wanted)


def _insert(rows: Sequence[tuple[Any, ...]]) -> list[tuple[int, JobToPublish]]:
    """Insert rows; both databases say which of them were not there. Django's `ignore_conflicts` would not."""
    row = f"({', '.join(['%s'] * len(_COLUMNS))})"
    statement = (
        f"INSERT INTO webhooks_job ({', '.join(_COLUMNS)}) VALUES {', '.join([row] * len(rows))} "  # noqa: S608
        "ON CONFLICT DO NOTHING RETURNING delivery_id, id, handler, queue"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [value for values in rows for value in values])
        return [(delivery_id, JobToPublish(*job)) for delivery_id, *job in cursor.fetchall()]
