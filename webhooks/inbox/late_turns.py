"""Passes on the turns that nobody passes on: the relay looks for them. See `turns.py` for what a turn is.

- A worker of the release before, which knows no turns, may have ended the job that had it.
- A job of a replay has the turn and waits for its queue to be idle, and a live job of the same key has become due.
"""

from django.db import connection
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from webhooks.inbox import due, turns
from webhooks.inbox.turns import Keys
from webhooks.models import Job
from webhooks.replay_queues import MARK, is_replay_queue
from webhooks.states import JobState

MOST_KEYS = 200
"""So many keys are looked at in one step, by two lookups each."""
MOST_REPLAYED = 500

_WAITING = """
WITH RECURSIVE asked (order_key, place) AS (
    SELECT (
        SELECT order_key FROM webhooks_job WHERE state = '{state}' AND order_key > %s ORDER BY order_key LIMIT 1
    ), 1
    UNION ALL
    SELECT (
        SELECT job.order_key FROM webhooks_job AS job
        WHERE job.state = '{state}' AND job.order_key > asked.order_key
        ORDER BY job.order_key LIMIT 1
    ), place + 1
    FROM asked WHERE order_key IS NOT NULL AND place < %s
)
SELECT order_key, EXISTS (
    SELECT 1 FROM webhooks_job AS job
    WHERE job.order_key = asked.order_key AND (job.state = 'running' OR job.publish_at IS NOT NULL)
)
FROM asked WHERE order_key IS NOT NULL ORDER BY order_key
"""


class LateTurns:
    """Looks through the keys, some of them each step."""

    def __init__(self) -> None:
        self._after = dict.fromkeys((JobState.QUEUED, JobState.RETRYING), "")

    def step(self) -> int:
        """Pass on what is found; return to how many jobs. Raises Django's database errors."""
        found = {key for state in self._after for key in self._without_turn(state)} | _behind_replays()
        if not found:
            return 0
        with turns.held(Keys(order=frozenset(found))) as given:
            pass
        return len(given)

    def _without_turn(self, state: JobState) -> list[str]:
        """Return the next keys of which jobs wait and none has the turn."""
        with connection.cursor() as cursor:
            cursor.execute(_WAITING.format(state=state.value), [self._after[state], MOST_KEYS])
            rows = cursor.fetchall()
        self._after[state] = rows[-1][0] if len(rows) == MOST_KEYS else ""
        return [key for key, has_turn in rows if not has_turn]


def _behind_replays() -> set[str]:
    """Return the keys of live jobs that are due and wait for a replayed one that waits."""
    found: set[str] = set()
    live = Job.objects.filter(order_key=OuterRef("order_key"), state=JobState.RETRYING, due_at__lte=Now())
    is_due = Exists(live.exclude(queue__endswith=MARK))
    for queue in filter(is_replay_queue, due.waiting_queues()):
        first = Job.objects.filter(queue=queue, publish_at__isnull=False).order_by("publish_at", "id")
        ids = list(first.values_list("pk", flat=True)[:MOST_REPLAYED])
        held = Job.objects.filter(is_due, pk__in=ids, order_key__isnull=False)
        found.update(key for key in held.values_list("order_key", flat=True) if key)
    return found
