"""The relay: puts on the broker what is due in the inbox and not yet claimed, and takes back what a lease lost.

It may be killed at any moment and run several times over: rows are moved forward and committed before they are
published, no lock is held while it talks to the broker, and a message too many is dropped by the claim.
"""

import logging
import random
import threading
import time
from dataclasses import asdict, dataclass

from django.db import Error, connection
from kombu.exceptions import OperationalError

from webhooks import inbox, retention, transitions
from webhooks.broker import Broker
from webhooks.inbox import JobToPublish
from webhooks.models import Job
from webhooks.queue_gauges import QueueGauges
from webhooks.relay_pulse import Pulse
from webhooks.subscriptions import Subscriptions
from webhooks.wake import Alarm

TICK_SECONDS = 1.0
BATCH = 500
LEASE_BATCH = 100
LONGEST_PAUSE_SECONDS = 5.0
HANDLER_GONE_SECONDS = 900.0
"""How long a relay waits for a handler it does not know: in a roll-out, an old relay knows no new handlers."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What one round did."""

    published: int = 0
    again: int = 0
    expired: int = 0
    buried: int = 0


class Relay:
    """One relay. `run` returns within a second of `stop` being set, unless the database or the broker is silent."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        *,
        stop: threading.Event,
        broker: Broker | None = None,
        gone_seconds: float = HANDLER_GONE_SECONDS,
        pulse: Pulse | None = None,
        gauges: QueueGauges | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._pulse = pulse or Pulse(stop)
        self._gauges = gauges
        self._gone_seconds = gone_seconds
        self._missed: dict[str, float] = {}
        self._stop = stop
        self._broker = broker or Broker()
        self._alarm = Alarm(stop)
        self._retention = retention.Schedule()
        self._failures = 0

    def run(self) -> None:
        """Work round after round until stopped; outages of the database and the broker are waited out."""
        logger.info("relay started", extra={"queues": ",".join(self._subscriptions.queues)})
        while not self._stop.is_set():
            self._pulse.beat()
            try:
                tally, pause = self.round()
                self._failures = 0
                self._tell(tally)
                if self._gauges is not None:
                    self._gauges.step()
                self._retention.step()
                if pause > 0:
                    self._alarm.sleep(pause)
            except (Error, OperationalError) as error:
                self._wait_out(error)
        self._broker.close()
        connection.close()

    def round(self) -> tuple[Tally, float]:
        """Do all that is due now, in bounded batches; return what was done and how long to sleep, in seconds."""
        tally = Tally(expired=transitions.expire_leases(limit=LEASE_BATCH))
        queues = inbox.waiting_queues()
        is_behind = tally.expired == LEASE_BATCH
        failures: dict[str, OperationalError] = {}
        for queue in queues:
            if self._stop.is_set():
                break
            self._pulse.beat()
            try:
                is_behind |= self._relay(queue, tally)
            except OperationalError as error:  # Of one queue, it may be; the others are not to wait for it.
                failures[queue] = error
        if failures and len(failures) == len(queues):
            raise failures[queues[0]]
        for queue, failure in failures.items():
            logger.warning("queue not published to", extra={"queue": queue, "error": str(failure)})
        until_due = inbox.seconds_until_due(queues)
        if is_behind:
            return tally, 0.0
        return tally, TICK_SECONDS if until_due is None or until_due <= 0 else min(TICK_SECONDS, until_due)

    def _relay(self, queue: str, tally: Tally) -> bool:
        """Publish one batch of a queue; tell whether more may be due that the window has room for."""
        room = self._broker.room(queue)
        if not room:
            return False
        jobs = inbox.take_due(queue, limit=min(room, BATCH))
        sent, deadline = 0, time.monotonic() + TICK_SECONDS
        try:
            # A broker that is slow must not keep this relay from its other queues, the leases and a stop.
            while sent < len(jobs) and time.monotonic() < deadline and not self._stop.is_set():
                self._publish(jobs[sent], tally)
                sent += 1
        finally:
            if sent < len(jobs):
                inbox.put_back([job.pk for job in jobs[sent:]])
        return len(jobs) == BATCH and room > BATCH

    def _publish(self, job: Job, tally: Tally) -> None:
        subscription = self._subscriptions.get(job.handler)
        if subscription is None:
            tally.buried += self._bury_if_gone(job)
            return
        if subscription.queue != job.queue:  # Its handler has moved; no worker may consume from the old queue.
            inbox.move(job.pk, queue=subscription.queue)
            return
        self._broker.publish(JobToPublish(job.pk, job.handler, job.queue), subscription)
        tally.published += 1
        tally.again += bool(job.publications)

    def _bury_if_gone(self, job: Job) -> int:
        first_missed = self._missed.setdefault(job.handler, time.monotonic())
        if time.monotonic() - first_missed < self._gone_seconds:
            return 0
        return transitions.bury([job.pk], reason=f"No installed app has a handler named {job.handler}.")

    def _wait_out(self, error: Exception) -> None:
        """Wait with exponential backoff and jitter, so that a fleet does not return all at once."""
        self._failures += 1
        connection.close()
        pause = min(LONGEST_PAUSE_SECONDS, 0.25 * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        outage = "broker" if isinstance(error, OperationalError) else "database"
        self._pulse.failed(outage)
        if self._failures & (self._failures - 1) == 0:  # The 1st, 2nd, 4th, 8th … time in a row.
            logger.warning(
                "relay waits", extra={"for": f"the {outage}", "error": type(error).__name__, "failures": self._failures}
            )
        self._pulse.beat()
        self._stop.wait(pause)

    def _tell(self, tally: Tally) -> None:
        told = asdict(tally)
        self._pulse.relayed(**told)
        if tally.published or tally.expired or tally.buried:
            logger.info("relayed", extra=told)
