"""The probes and metrics of a process that watches GitHub's logs."""

import time

from prometheus_client import CollectorRegistry, Counter, ProcessCollector

from webhooks.models import LogPass

SILENT_SECONDS = 900.0
"""A pass may wait for a rate limit for minutes. A loop that has not turned for longer is in a call that hangs."""


class ReconcilerHealth:
    """Written by the loop, read by its probes."""

    def __init__(self, *, every_seconds: float) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._passes = self._counter("passes", "Passes over GitHub's logs that this process ended, by how.", "state")
        for state in LogPass.State.values:  # From 0 on: Prometheus sees no rise from nothing to 1.
            if state != LogPass.State.RUNNING:
                self._passes.labels(state)
        self._recovered = self._counter("deliveries_recovered", "Deliveries that passes took from GitHub's logs.")
        self._lost = self._counter("deliveries_lost", "Deliveries that passes found missing and cannot take in.")
        self._calls = self._counter("api_calls", "Calls of GitHub's API that passes made.")
        self._longest_still = SILENT_SECONDS + 2 * every_seconds
        self._turned_at: float | None = None

    def heartbeat(self) -> None:
        self._turned_at = time.monotonic()

    def ended(self, done: LogPass) -> None:
        self.heartbeat()
        self._passes.labels(done.state).inc()
        self._recovered.inc(done.recovered)
        self._lost.inc(done.lost)
        self._calls.inc(done.calls)

    def live(self) -> list[str]:
        still = 0.0 if self._turned_at is None else time.monotonic() - self._turned_at
        return [f"its loop has not turned for {still:.0f} s"] if still > self._longest_still else []

    def ready(self) -> list[str]:
        return self.started()

    def started(self) -> list[str]:
        return [] if self._turned_at is not None else ["its loop has not begun"]

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"hookline_reconcile_{name}", documentation, labels, registry=self.registry)
