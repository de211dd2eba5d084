"""A worker's probes and metrics, on threads of its dispatcher: HTTP, and the checks of the parent."""

import time
from collections.abc import Iterator

from django.conf import settings
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from webhooks.inbox.committer import Committer
from webhooks.probe_server import Health, ProbeServer
from webhooks.threads import start_thread
from workers.probes import liveness
from workers.probes.liveness import Check, Liveness
from workers.probes.queue_check import QueueCheck
from workers.probes.vital_signs import SharedSigns, VitalSigns
from workers.runs.slots import Slots
from workers.stopping.flag import is_stopping

LOOK_SECONDS = 1.0
ASK_SECONDS = 5.0


def serve_probes(
    server: ProbeServer,
    shared: SharedSigns,
    registry: CollectorRegistry,
    *,
    slots: Slots,
    started_at_seconds: float,
    committer: Committer,
) -> None:
    """Serve on threads, for as long as the process lives."""
    registry.register(Gauges(shared, slots, started_at_seconds=started_at_seconds))
    check = LivenessCheck(shared, stalled_seconds=settings.HOOKLINE_STALLED_SECONDS, queue_check=QueueCheck(committer))
    # If one of these threads fails, the process ends and is started again. Otherwise /livez would give its last answer
    # for ever.
    start_thread("liveness", check.run)
    server.health = Health(live=check.live, ready=check.ready, started=check.started, registry=registry)
    server.start()


class LivenessCheck:
    """Reads the parent's vital signs, asks broker and inbox where needed, and keeps the result for the probes."""

    def __init__(self, shared: SharedSigns, *, stalled_seconds: float, queue_check: QueueCheck | None = None) -> None:
        self._shared = shared
        self._stalled_seconds = stalled_seconds
        self._queue_check = queue_check or QueueCheck()
        self._liveness = Liveness(stalled_seconds=stalled_seconds)
        self._asked_at = 0.0
        self._signs: VitalSigns | None = None

    def run(self) -> None:
        while True:
            self.look(now=time.monotonic())
            time.sleep(LOOK_SECONDS)

    def look(self, *, now: float) -> None:
        """Ask broker and inbox if there is something to check, at most every ASK_SECONDS."""
        signs = self._last_signs()
        reason = liveness.needed_check(signs, now=now, is_stopping=is_stopping(), stalled_seconds=self._stalled_seconds)
        if signs is None or reason is Check.NONE:
            self._liveness.clear()
        elif now - self._asked_at >= ASK_SECONDS:
            answers = self._queue_check.ask(reason, signs.queues, unstarted=signs.unstarted)
            self._liveness.decide(reason, signs, answers, now=now)
            self._asked_at = time.monotonic()

    def live(self) -> list[str]:
        # A stop may have begun since the last look.
        return [] if is_stopping() else self._liveness.faults

    def ready(self) -> list[str]:
        faults = liveness.unready(self._last_signs(), now=time.monotonic(), is_stopping=is_stopping())
        reason = self._queue_check.broker_reason
        return [*faults, f"the broker {reason}"] if faults == [liveness.NOT_CONNECTED] and reason else faults

    def started(self) -> list[str]:
        """Return nothing once the worker has consumed, or if it cannot: a restart would not bring the broker back."""
        signs = self._last_signs()
        if (signs and signs.has_consumed) or self._liveness.is_broker_silent:
            return []
        return ["has consumed nothing yet"]

    def _last_signs(self) -> VitalSigns | None:
        # A parent that is stopped in the middle of a write leaves nothing that can be read: keep what was read last.
        self._signs = self._shared.read() or self._signs
        return self._signs


class Gauges(Collector):
    """The parent's vital signs, and how many children run a handler, as metrics."""

    def __init__(self, shared: SharedSigns, slots: Slots, *, started_at_seconds: float) -> None:
        self._shared, self._slots = shared, slots
        self._started_at_seconds = started_at_seconds

    def collect(self) -> Iterator[Metric]:
        yield _gauge("stopping", "Whether the worker takes no more jobs and ends.", is_stopping())
        yield _gauge("started_at_seconds", "When it started, in epoch seconds.", self._started_at_seconds)
        signs = self._shared.read()
        if signs is not None:
            age_seconds = time.monotonic() - signs.heartbeat_at
            yield _gauge(
                "stops_at_seconds", "When its lifetime ends, in epoch seconds; 0 for never.", signs.stops_at_seconds
            )
            yield _gauge("consuming", "Whether it consumes from all of its queues.", signs.is_consuming)
            yield _gauge("heartbeat_age_seconds", "How long ago its loop last turned.", age_seconds)
            yield _gauge("processes", "Its processes for handlers.", signs.processes)
            # Not those that Celery calls busy: a child in its turn may wait for a job.
            yield _gauge("processes_busy", "How many of them run a handler.", len(self._slots.running()))
            yield _gauge("messages_unstarted", "Its messages that no process has begun.", signs.unstarted)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"hookline_worker_{name}", documentation, value=value)
