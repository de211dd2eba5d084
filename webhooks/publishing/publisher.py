"""Publishes a request's jobs on another thread, from a bounded queue. Jobs that it cannot publish, the relay does.

`offer` never blocks and never fails, so the answer to GitHub never waits for the broker.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Iterable

from kombu.exceptions import OperationalError
from prometheus_client import Counter

from webhooks.inbox.new_delivery import JobToPublish
from webhooks.outage_log import OutageLog
from webhooks.publishing.broker import Broker
from webhooks.subscriptions.subscription import Subscriptions
from webhooks.threads import place_of

CAPACITY = 5_000
PAUSE_SECONDS = 2.0
"""After a failure, nothing is published for about this long."""
WINDOW_SHARE = 0.5
"""The receiver may fill only this share of the window. The rest is for the relay, which publishes the oldest job first.
Without that rest, new jobs would take all the room, and a backlog would never be run."""

PUBLISHED = Counter("hookline_receiver_jobs_published_total", "Jobs the receiver put on the broker itself.")
DEFERRED = Counter("hookline_receiver_jobs_deferred_total", "Jobs the receiver left to the relay.", ["reason"])

logger = logging.getLogger(__name__)


class Publisher:
    """One thread that publishes the jobs that it is offered, while there is room and the broker answers."""

    def __init__(self, subscriptions: Subscriptions, *, capacity: int = CAPACITY) -> None:
        self._subscriptions = subscriptions
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
            job = self._queue.get()
            try:
                self._publish(job)
            except OperationalError as error:
                self._pause(str(error))
            except Exception as error:  # An unforeseen error must not end this receiver's publisher.
                self._broker.close()
                self._pause(f"cannot be published to ({place_of(error)})")
            finally:
                self._queue.task_done()

    def _publish(self, job: JobToPublish) -> None:
        subscription = self._subscriptions.get(job.handler)
        if subscription is None or time.monotonic() < self._paused_until:
            self._defer("broker")
            return
        if not self._broker.room(job.queue, share=WINDOW_SHARE):
            self._defer("window")
            return
        self._broker.publish(job, subscription)
        self.reason = ""
        PUBLISHED.inc()

    def _pause(self, reason: str) -> None:
        self.reason = reason
        # At random, so that receivers do not try all at once.
        self._paused_until = time.monotonic() + PAUSE_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311
        self._log.failed(f"the broker {reason}")
        self._defer("broker")

    def _defer(self, reason: str) -> None:
        """Count a job that is left to the relay. Only a full queue is logged here.

        `_pause` has logged a broker that fails, and a full window is no fault.
        """
        DEFERRED.labels(reason).inc()
        if reason == "full":
            self._log.failed("more than can be published at once")
