"""What a relay's probes and metrics say of it.

Live is a loop that turns, be it only to wait out an outage of the database or the broker: a restart would not end one.
Only a call that does not come back within SILENT_SECONDS speaks for a restart.
"""

import threading
import time

from prometheus_client import CollectorRegistry, Counter, ProcessCollector

SILENT_SECONDS = 60.0
"""A round's calls to a silent broker end within 2 s each; to a silent database they may last much longer."""


class Pulse:
    """Written by the relay's loop, read by its probes."""

    def __init__(self, stop: threading.Event) -> None:
        # Of its own: the library's holds the receiver's metrics too, which mean nothing here.
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._published = self._counter("jobs_published", "Messages that this relay put on the broker.")
        self._again = self._counter("jobs_published_again", "Of these, messages of jobs published before.")
        self._expired = self._counter("leases_expired", "Runs that this relay recorded as lost.")
        self._buried = self._counter("jobs_buried", "Jobs that this relay ended for want of their handler.")
        self._failed = self._counter("failed_rounds", "Rounds that an outage cut short.", "of")
        self._stop = stop
        self._beat_at: float | None = None
        self._has_relayed = False

    def beat(self) -> None:
        """Note that the loop turns."""
        self._beat_at = time.monotonic()

    def relayed(self, *, published: int, again: int, expired: int, buried: int) -> None:
        """Count a round that came to its end."""
        self._has_relayed = True
        self._published.inc(published)
        self._again.inc(again)
        self._expired.inc(expired)
        self._buried.inc(buried)

    def failed(self, outage: str) -> None:
        self._failed.labels(outage).inc()

    def live(self) -> list[str]:
        if self._beat_at is None or time.monotonic() - self._beat_at < SILENT_SECONDS:
            return []
        return [f"its loop has not turned for {time.monotonic() - self._beat_at:.0f} s"]

    def ready(self) -> list[str]:
        """Return why it is not relaying. A later outage of the database or the broker is no reason."""
        if self._stop.is_set():
            return ["stopping"]
        return [] if self._has_relayed else ["has relayed nothing yet: no database, no broker, or not migrated"]

    def started(self) -> list[str]:
        return [] if self._beat_at is not None else ["its loop has not begun"]

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"hookline_relay_{name}", documentation, labels, registry=self.registry)
