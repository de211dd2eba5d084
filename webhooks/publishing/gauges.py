"""How much waits in each queue and for how long, for an autoscaler and for alerts: what each relay's /metrics tells.

A job waits that is due and not running. Every relay tells the same, of the whole fleet: aggregate with max, not sum.

The reading is bounded, whatever the backlog: of each queue two ranges of the index `job_publish`, of SAMPLE rows at
most. The first are jobs that wait for the relay, from the one that has waited longest on; the second are those whose
message is on the broker, since they will be looked at again within seconds. So the count is exact up to SAMPLE, and
says SAMPLE for whatever is more: an autoscaler is at its upper end long before. The age is that of the oldest in both
ranges, which is the oldest of the queue: the relay publishes in that order.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from webhooks.inbox import store
from webhooks.models import Job

SAMPLE = 10_000
READ_SECONDS = 5.0
FRESH_SECONDS = 30.0
"""After this without a reading nothing is told: an autoscaler must see that nothing is known, and not an old number."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one queue."""

    jobs: int = 0
    oldest_seconds: float = 0.0


class QueueGauges(Collector):
    """The last reading, as gauges. `step` reads, on the relay's upkeep thread; `collect` may be called on any."""

    def __init__(self, queues: Iterable[str]) -> None:
        self._queues = frozenset(queues)
        self._read_at: float | None = None
        self._waiting: dict[str, Waiting] = {}

    def step(self) -> None:
        """Read if it is time to. Raises Django's database errors."""
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < READ_SECONDS:
            return
        # A queue that was seen once is told of for good, so that it falls to 0 and does not keep its last value.
        self._queues |= frozenset(store.waiting_queues())
        self._waiting = {queue: waiting_in(queue) for queue in sorted(self._queues)}
        self._read_at = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily(
            "hookline_queue_waiting_jobs",
            f"Jobs that are due and not running, {SAMPLE} at most. Of the whole fleet: aggregate with max.",
            labels=["queue"],
        )
        oldest = GaugeMetricFamily(
            "hookline_queue_oldest_waiting_seconds",
            "For how long the oldest of them has been due; 0 if there is none. Aggregate with max.",
            labels=["queue"],
        )
        if self._read_at is not None and time.monotonic() - self._read_at < FRESH_SECONDS:
            for queue, waiting in self._waiting.items():
                jobs.add_metric([queue], waiting.jobs)
                oldest.add_metric([queue], waiting.oldest_seconds)
        yield jobs
        yield oldest


def waiting_in(queue: str) -> Waiting:
    """Read what waits in a queue, by the database's clock."""
    jobs = Job.objects.filter(queue=queue)
    soon = Now() + timedelta(seconds=store.LONGEST_INTERVAL_SECONDS)
    for_the_relay = _due(jobs.filter(publish_at__lte=Now()))
    on_the_broker = _due(jobs.filter(publish_at__gt=Now(), publish_at__lte=soon))
    oldest_at = min(filter(None, (for_the_relay.oldest_at, on_the_broker.oldest_at)), default=None)
    age_seconds = (_database_time() - oldest_at).total_seconds() if oldest_at else 0.0
    return Waiting(min(for_the_relay.jobs + on_the_broker.jobs, SAMPLE), max(0.0, age_seconds))


class _Due(NamedTuple):
    jobs: int
    oldest_at: datetime | None


def _due(jobs: QuerySet[Job]) -> _Due:
    is_due = Q(due_at__lte=Now())
    sample = jobs.order_by("publish_at", "id")[:SAMPLE]
    found = sample.aggregate(jobs=Count("pk", filter=is_due), oldest_at=Min("due_at", filter=is_due))
    return _Due(**found)


def _database_time() -> datetime:
    return Job.objects.order_by("pk").values_list(Now(), flat=True).first() or timezone.now()
