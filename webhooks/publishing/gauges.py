"""How many jobs wait in each queue and for how long, how many are dead, and how long ago GitHub's logs were read: for
an autoscaler and for alerts, in each relay's /metrics.

Every relay shows the same numbers, of the whole fleet: aggregate with max, not sum. `webhooks/inbox/due.py` and
`dead.py` read them: however many jobs there are, a bounded number of rows, by an index.
"""

import time
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from webhooks.inbox import dead, due, hook_logs, pauses
from webhooks.inbox.destinations import breaker
from webhooks.inbox.due import Waiting
from webhooks.inbox.pauses import Paused

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
        self._paused = Paused()
        self._incomplete_seconds: dict[str, float] = {}
        self._breakers: dict[str, bool] = {}

    def step(self) -> None:
        """Read, at most every READ_SECONDS. Raises Django's database errors."""
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < READ_SECONDS:
            return
        # A queue that was seen once is always shown: its value must fall to 0, not disappear with the last jobs.
        self._paused = pauses.paused()
        waiting = frozenset(due.waiting_queues()) | self._paused.queues
        self._queues |= waiting
        self._waiting = {
            queue: due.waiting_in(queue) if queue in waiting else Waiting() for queue in sorted(self._queues)
        }
        self._dead = dead.count_dead()
        self._incomplete_seconds = hook_logs.incomplete_seconds()
        self._breakers = breaker.are_open()
        self._read_at = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        jobs = _gauge(
            "waiting_jobs",
            f"Jobs that are due, not running and not paused, {due.SAMPLE} at most. Of the whole fleet: aggregate with "
            "max.",
        )
        oldest = _gauge(
            "oldest_waiting_seconds",
            "For how long the oldest of them has been due; 0 if there is none. Aggregate with max.",
        )
        dead_jobs = GaugeMetricFamily(
            "hookline_dead_jobs",
            f"Jobs that are dead, {dead.SAMPLE} at most. Of the whole fleet: aggregate with max.",
        )
        paused_jobs = _gauge(
            "paused_jobs", f"Jobs that are due and paused by an operator, {due.SAMPLE} at most. Aggregate with max."
        )
        paused = _gauge("paused", "1 while an operator has paused the queue, else 0. Aggregate with max.")
        if self._is_fresh:
            dead_jobs.add_metric([], self._dead)
            for queue, waiting in self._waiting.items():
                jobs.add_metric([queue], waiting.jobs)
                oldest.add_metric([queue], waiting.oldest_seconds)
                paused_jobs.add_metric([queue], waiting.paused_jobs)
                paused.add_metric([queue], self._paused.has_queue(queue))
        yield from (
            jobs,
            oldest,
            dead_jobs,
            paused_jobs,
            paused,
            self._log_ages(),
            self._paused_handlers(),
            self._open_breakers(),
        )

    @property
    def _is_fresh(self) -> bool:
        return self._read_at is not None and time.monotonic() - self._read_at < FRESH_SECONDS

    def _log_ages(self) -> GaugeMetricFamily:
        ages = GaugeMetricFamily(
            "hookline_reconcile_age_seconds",
            "How long ago the last complete pass over GitHub's log ended: of each source's hooks, the longest. Of the "
            "whole fleet: aggregate with max.",
            labels=["source"],
        )
        for source, seconds in self._incomplete_seconds.items() if self._is_fresh else ():
            ages.add_metric([source], seconds)
        return ages

    def _paused_handlers(self) -> GaugeMetricFamily:
        handlers = GaugeMetricFamily(
            "hookline_handler_paused", "1 for each handler that is paused.", labels=["handler"]
        )
        for handler in sorted(self._paused.handlers):
            handlers.add_metric([handler], 1)
        return handlers

    def _open_breakers(self) -> GaugeMetricFamily:
        breakers = GaugeMetricFamily(
            "hookline_destination_breaker_open",
            "1 while the breaker of a destination is open, else 0. Of the whole fleet: aggregate with max.",
            labels=["destination"],
        )
        for name, is_open in self._breakers.items() if self._is_fresh else ():
            breakers.add_metric([name], is_open)
        return breakers


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"hookline_queue_{name}", text, labels=["queue"])
