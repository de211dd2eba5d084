"""Puts messages for new jobs on the broker, on another thread. Jobs for which it cannot are left to the relay.

A lone job's message is sent at once; jobs that come meanwhile are published for together. `offer` never blocks and
never fails, so the answer to GitHub never waits for the broker.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Iterable, Sequence

from kombu.exceptions import OperationalError
from prometheus_client import Counter

from webhooks.inbox.new_delivery import JobToPublish
from webhooks.outage_log import OutageLog
from webhooks.publishing.broker import Broker
from webhooks.threads import place_of
from webhooks.traces.spans import spans

CAPACITY = 5_000
MOST_TOGETHER = 64
PAUSE_SECONDS = 2.0
"""After a failure, nothing is published for about this long."""

PUBLISHED = Counter(
    "hookline_receiver_jobs_published_total", "New jobs for which the receiver itself put a message on the broker."
)
DEFERRED = Counter(
    "hookline_receiver_jobs_deferred_total",
    "New jobs for which it put none there: enough are there (window), the broker is away, or too many came (full).",
    ["reason"],
)
for _reason in ("broker", "full", "window"):  # From 0 on: Prometheus sees no rise from nothing to 1.
    DEFERRED.labels(_reason)

logger = logging.getLogger(__name__)


class Publisher:
    """One thread that publishes for the jobs that it is offered, while there is room and the broker answers."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._broker = Broker()
        self._queue: queue.Queue[JobToPublish] = queue.Queue(capacity)
        self._paused_until = 0.0
        self._log = OutageLog(logger, "jobs are left to the relay")
        self.reason = ""
        """What was wrong with the broker at the last try, in words to put after "the broker"; else empty."""
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def is_available(self) -> bool:
        """Whether the thread is alive and its last try on the broker succeeded. True before the first try."""
        return not self.reason and (self._thread is None or self._thread.is_alive())

    def offer(self, jobs: Iterable[JobToPublish]) -> None:
        """Take jobs whose rows are committed; return at once."""
        self._start()
        for job in jobs:
            if time.monotonic() < self._paused_until:
                self._defer("broker")
                continue
            try:
                self._queue.put_nowait(job)
            except queue.Full:
                self._defer("full")

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            group = self._take()
            try:
                for name in dict.fromkeys(job.queue for job in group):
                    self._publish(name, [job for job in group if job.queue == name])
            finally:
                for _ in group:
                    self._queue.task_done()

    def _take(self) -> list[JobToPublish]:
        """Wait for a job, and return it with those that are there besides."""
        group = [self._queue.get()]
        while len(group) < MOST_TOGETHER and not self._queue.empty():
            group.append(self._queue.get_nowait())
        return group

    def _publish(self, name: str, jobs: Sequence[JobToPublish]) -> None:
        """Publish for as many of these jobs as the queue of this name has room for."""
        if time.monotonic() < self._paused_until:
            self._defer("broker", len(jobs))
            return
        try:
            having_room = jobs[: self._broker.room(name)]
            if having_room:
                began_at = time.time_ns()
                self._broker.publish(having_room)
                spans().published(having_room, began_at=began_at)
        except OperationalError as error:
            self._pause(str(error), len(jobs))
        except Exception as error:  # An unforeseen error must not end this receiver's publisher.
            self._broker.close()
            self._pause(f"cannot be published to ({place_of(error)})", len(jobs))
        else:
            self.reason = ""
            PUBLISHED.inc(len(having_room))
            self._defer("window", len(jobs) - len(having_room))

    def _pause(self, reason: str, jobs: int) -> None:
        self.reason = reason
        # At random, so that receivers do not try all at once.
        self._paused_until = time.monotonic() + PAUSE_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311
        self._log.failed(f"the broker {reason}")
        self._defer("broker", jobs)

    def _defer(self, reason: str, jobs: int = 1) -> None:
        """Count jobs that are left to the relay. Only a full queue is logged here.

        `_pause` has logged a broker that fails, and a full window is no fault.
        """
        DEFERRED.labels(reason).inc(jobs)
        if reason == "full":
            self._log.failed("more than can be published at once")
