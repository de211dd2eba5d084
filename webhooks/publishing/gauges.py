"""How many jobs wait in each queue and for how long, and how many are dead: for an autoscaler and for alerts, in each
relay's /metrics.

Every relay shows the same numbers, of the whole fleet: aggregate with max, not sum. `webhooks/inbox/due.py` and
`dead.py` read them: however many jobs there are, a bounded number of rows, by an index.
"""

import time
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from webhooks.inbox import dead, due
from webhooks.inbox.due import Waiting

READ_SECONDS = 5.0
FRESH_SECONDS = 30.0
"""A reading older than this is not shown: for an autoscaler, no number is better than an old one."""


class InboxGauges(Collector):
    """The last reading, as gauges. `step` reads, on the relay's upkeep thread; any thread may call `collect`."""

    def __init__(self, queues: Iterable[str]) -> None:
        self._queues = frozenset(queues)
        self._read_at: float | None = None
        self._waiting: dict[str, Waiting] = {}
        self._dead = 0

    def step(self) -> None:
        """Read, at most every READ_SECONDS. Raises Django's database errors."""
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < READ_SECONDS:
            return
        # A queue that was seen once is always shown: its value must fall to 0, not disappear with the last jobs.
        waiting = frozenset(due.waiting_queues())
        self._queues |= waiting
        self._waiting = {
            queue: due.waiting_in(queue) if queue in waiting else Waiting() for queue in sorted(self._queues)
        }
        self._dead = dead.count_dead()
        self._read_at = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily(
            "hookline_queue_waiting_jobs",
            f"Jobs that are due and not running, {due.SAMPLE} at most. Of the whole fleet: aggregate with max.",
            labels=["queue"],
        )
        oldest = GaugeMetricFamily(
            "hookline_queue_oldest_waiting_seconds",
            "For how long the oldest of them has been due; 0 if there is none. Aggregate with max.",
            labels=["queue"],
        )
        dead_jobs = GaugeMetricFamily(
            "hookline_dead_jobs",
            f"Jobs that are dead, {dead.SAMPLE} at most. Of the whole fleet: aggregate with max.",
        )
        if self._read_at is not None and time.monotonic() - self._read_at < FRESH_SECONDS:
            dead_jobs.add_metric([], self._dead)
            for queue, waiting in self._waiting.items():
                jobs.add_metric([queue], waiting.jobs)
                oldest.add_metric([queue], waiting.oldest_seconds)
        yield jobs
        yield oldest
        yield dead_jobs
