"""The relay: puts jobs on the broker that are due in the inbox and not yet claimed. `upkeep.py` has its other work.

It may be killed at any moment, and several may run: the jobs' `publish_at` is moved forward and committed before they
are published, no lock is held while it talks to the broker, and a claim drops a superfluous message.
"""

import logging
import random
import threading
import time
from dataclasses import asdict, dataclass

from django.db import Error, connection
from kombu.exceptions import OperationalError

from webhooks.inbox import database, due
from webhooks.inbox.new_delivery import JobToPublish
from webhooks.models import Job
from webhooks.outage_log import OutageLog
from webhooks.publishing.broker import Broker, NotConnectedError
from webhooks.publishing.gauges import QueueGauges
from webhooks.publishing.health import PUBLISHING, RelayHealth
from webhooks.publishing.strays import Strays
from webhooks.publishing.upkeep import Upkeep
from webhooks.subscriptions.subscription import Subscription, Subscriptions
from webhooks.threads import start_thread

TICK_SECONDS = 1.0
BATCH = 500
LONGEST_PAUSE_SECONDS = {"broker": 5.0, "database": TICK_SECONDS}
"""For the database a second: that is how often a healthy relay asks it, so a database that is back is found at once."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Round:
    """What one round did."""

    published: int = 0
    again: int = 0


class Relay:
    """One relay. `run` returns within a second of `stop` being set, unless the database or the broker is silent."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        *,
        stop: threading.Event,
        broker: Broker | None = None,
        health: RelayHealth | None = None,
        gauges: QueueGauges | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._health = health or RelayHealth(stop)
        self._stop = stop
        self._broker = broker or Broker()
        self._strays = Strays(subscriptions, health=self._health)
        self._upkeep = Upkeep(self._strays, stop=stop, health=self._health, gauges=gauges)
        self._failures = 0
        self._outages = OutageLog(logger, "relay waits")
        self._queue_failures = OutageLog(logger, "queue not published to")

    def run(self) -> None:
        """Work round after round until stopped; wait during outages of the database and the broker."""
        logger.info("relay started", extra={"queues": ",".join(self._subscriptions.queues)})
        upkeep = start_thread("upkeep", self._upkeep.run)
        while not self._stop.is_set():
            self._health.heartbeat(PUBLISHING)
            try:
                done, pause = database.run(self.round)
                self._failures = 0
                self._report(done)
                self._stop.wait(pause)
            except (Error, OperationalError) as error:
                self._wait_out(error)
        self._broker.close()
        connection.close()
        upkeep.join()

    def round(self) -> tuple[Round, float]:
        """Publish the jobs that are due now, in bounded batches; return what was done and how many seconds to sleep."""
        done, is_behind = Round(), False
        # Jobs in other queues are not published here: `strays.py` moves or ends them.
        queues = [queue for queue in due.waiting_queues() if queue in self._subscriptions.queues]
        failures: dict[str, OperationalError] = {}
        for queue in queues:
            if self._stop.is_set():
                break
            self._health.heartbeat(PUBLISHING)
            try:
                is_behind |= self._relay(queue, done)
            except NotConnectedError:  # It would fail for the other queues too, after the same wait.
                raise
            except OperationalError as error:  # It may be about this queue only, so the other queues go on.
                failures[queue] = error
        if failures and len(failures) == len(queues):
            raise failures[queues[0]]
        for queue, failure in failures.items():
            self._queue_failures.failed(f"the broker {failure}", queue=queue)
        until_due = due.seconds_until_due(queues)
        if is_behind:
            return done, 0.0
        return done, TICK_SECONDS if until_due is None or until_due <= 0 else min(TICK_SECONDS, until_due)

    def _relay(self, queue: str, done: Round) -> bool:
        """Publish one batch of a queue; tell whether more jobs may be due and fit into the window."""
        room = self._broker.room(queue)
        if not room:
            return False
        taken = due.take_due(queue, limit=min(room, BATCH))
        jobs = self._strays.settle(taken)
        sent, deadline = 0, time.monotonic() + TICK_SECONDS
        try:
            # A slow broker must not delay the other queues or a stop.
            while sent < len(jobs) and time.monotonic() < deadline and not self._stop.is_set():
                self._publish(*jobs[sent], done)
                sent += 1
        finally:
            if sent < len(jobs):
                due.put_back([job.pk for job, _ in jobs[sent:]])
        return len(taken) == BATCH and room > BATCH

    def _publish(self, job: Job, subscription: Subscription, done: Round) -> None:
        self._broker.publish(JobToPublish(job.pk, job.handler, job.queue), subscription)
        done.published += 1
        done.again += bool(job.publications)

    def _wait_out(self, error: Exception) -> None:
        """Wait with exponential backoff and jitter, so that not all relays try again at the same moment."""
        self._failures += 1
        if isinstance(error, OperationalError):
            outage, reason = "broker", f"the broker {error}"
        else:
            database.drop()
            outage, reason = "database", f"the database {database.reason(error)}"
        longest = LONGEST_PAUSE_SECONDS[outage]
        pause = min(longest, 0.25 * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        self._health.failed(outage, reason)
        self._outages.failed(reason)
        self._health.heartbeat(PUBLISHING)
        self._stop.wait(pause)

    def _report(self, done: Round) -> None:
        figures = asdict(done)
        self._health.relayed(**figures)
        if done.published:
            logger.info("relayed", extra=figures)
