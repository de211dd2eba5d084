"""A relay's probes and metrics.

A relay is live while its two loops turn, even if they only wait for the end of an outage of the database or the broker:
a restart would not end the outage. Only a call that does not return is a reason for a restart.
"""

import threading
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

UPKEEP, PUBLISHING = "upkeep", "publishing"
HELD_SECONDS = 60.0
"""A loop without a heartbeat for so long is in a call that does not return: calls to a silent broker end sooner."""
SILENT_SECONDS = {UPKEEP: HELD_SECONDS, PUBLISHING: 600.0}
"""After so long without a heartbeat a restart may help. Publishing gets more time: while the broker blocks it, a
restart would only remove the metrics that show this."""


class RelayHealth:
    """Written by the relay's two loops, read by its probes."""

    def __init__(self, stop: threading.Event) -> None:
        # A registry of its own: the library's default one has the receiver's metrics too, which mean nothing here.
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._published = self._counter("messages_published", "Messages that this relay put on the broker.")
        self._expired = self._counter(
            "leases_expired", "Claims with an expired lease: recorded as lost, or queued again."
        )
        self._moved = self._counter("jobs_moved", "Jobs that this relay moved to their handler's other queue.")
        self._buried = self._counter(
            "jobs_buried", "Jobs that this relay ended since no installed app has their handler."
        )
        self._failed = self._counter("failed_rounds", "Rounds that an outage interrupted.", "of")
        for outage in ("broker", "database"):  # From 0 on: Prometheus sees no rise from nothing to 1.
            self._failed.labels(outage)
        self._stop = stop
        self._heartbeats: dict[str, float] = {}
        self._has_relayed = False
        self._has_broker = True
        self._relayed_at = time.monotonic()
        """When it last ended a round that was not interrupted; before the first one, when it started."""
        self._reason = ""
        """The reason of the last outage."""
        self._gauge(
            "broker_available",
            "Whether the broker took the messages of the relay's last round.",
            lambda: self._has_broker and self._still_seconds(PUBLISHING) < HELD_SECONDS,
        )
        self._gauge(
            "lag_seconds",
            "For how long a job may have become due unseen: since the end of this relay's last whole round.",
            lambda: time.monotonic() - self._relayed_at,
        )
        self._gauge("stopping", "Whether this relay has been asked to stop.", stop.is_set)

    def heartbeat(self, loop: str) -> None:
        """Note that a loop turns."""
        self._heartbeats[loop] = time.monotonic()

    def relayed(self, *, published: int) -> None:
        """Count a round that was not interrupted."""
        self._has_relayed = self._has_broker = True
        self._relayed_at = time.monotonic()
        self._published.inc(published)

    def expired(self, runs: int) -> None:
        self._expired.inc(runs)

    def moved(self, jobs: int) -> None:
        self._moved.inc(jobs)

    def buried(self, jobs: int) -> None:
        self._buried.inc(jobs)

    def failed(self, outage: str, reason: str) -> None:
        """Count a round that an outage of the database or the broker interrupted."""
        self._has_broker &= outage != "broker"
        self._failed.labels(outage).inc()
        self._reason = reason

    def live(self) -> list[str]:
        still = {loop: self._still_seconds(loop) for loop in SILENT_SECONDS}
        return [
            f"its {loop} has not turned for {seconds:.0f} s"
            for loop, seconds in still.items()
            if seconds >= SILENT_SECONDS[loop]
        ]

    def ready(self) -> list[str]:
        """Return why it is not relaying. A later outage of the database or the broker is no reason."""
        if self._stop.is_set():
            return ["stopping"]
        if self._has_relayed:
            return []
        return [f"has relayed nothing yet: {self._reason}" if self._reason else "has relayed nothing yet"]

    def started(self) -> list[str]:
        return [] if self._heartbeats else ["its loops have not begun"]

    def _still_seconds(self, loop: str) -> float:
        """Return how long a loop has been without a heartbeat; 0 before its first one."""
        now = time.monotonic()
        return now - self._heartbeats.get(loop, now)

    def _gauge(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        Gauge(f"hookline_relay_{name}", documentation, registry=self.registry).set_function(value)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"hookline_relay_{name}", documentation, labels, registry=self.registry)
