"""The relay: looks every second for due jobs that nobody has claimed, and says so on the broker. `upkeep.py` has its
other work.

For this it changes nothing in the inbox. So it may be killed at any moment, and several may run: a message only says
that there is work, and one too many costs a worker a look at the inbox.
"""

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from django.conf import settings
from django.db import Error, connection
from kombu.exceptions import OperationalError

from webhooks.inbox import database, due, pauses
from webhooks.inbox.due import DueJob
from webhooks.inbox.new_delivery import JobToPublish
from webhooks.inbox.pauses import Paused
from webhooks.outage_log import OutageLog
from webhooks.publishing.broker import Broker, NotConnectedError
from webhooks.publishing.gauges import InboxGauges
from webhooks.publishing.health import PUBLISHING, RelayHealth
from webhooks.publishing.repeats import Repeats
from webhooks.publishing.strays import Strays
from webhooks.publishing.upkeep import Upkeep
from webhooks.replay_queues import is_replay_queue, live_queue
from webhooks.subscriptions.subscription import Subscriptions
from webhooks.threads import start_thread

TICK_SECONDS = 1.0
MOST_JOBS = 1_000
"""For so many jobs of a queue it publishes in one round at most, though the window may be larger."""
MOST_REPLAYED = 16
"""For so many jobs of a replay queue: of most of them a worker learns as the one before has ended."""
MOST_TOGETHER = 50
LONGEST_PAUSE_SECONDS = {"broker": 5.0, "database": TICK_SECONDS}
"""For the database a second: that is how often a healthy relay asks it, so a database that is back is found at once."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Round:
    """What one round did."""

    published: int = 0


class Relay:
    """One relay. `run` returns within a second of `stop` being set, unless the database or the broker is silent."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        *,
        stop: threading.Event,
        broker: Broker | None = None,
        health: RelayHealth | None = None,
        gauges: InboxGauges | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._health = health or RelayHealth(stop)
        self._stop = stop
        self._broker = broker or Broker()
        self._repeats = Repeats()
        strays = Strays(subscriptions, health=self._health)
        self._upkeep = Upkeep(strays, stop=stop, health=self._health, gauges=gauges)
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
        """Publish for the jobs that are due now; return what was done and how many seconds to sleep."""
        done = Round()
        # Not for jobs in other queues: `strays.py` moves or ends them.
        queues = [queue for queue in due.waiting_queues() if live_queue(queue) in self._subscriptions.queues]
        held = pauses.paused() if queues else Paused()
        failures: dict[str, OperationalError] = {}
        has_answered = False
        for queue in queues:
            if self._stop.is_set():
                break
            self._health.heartbeat(PUBLISHING)
            try:
                has_answered |= self._relay(queue, done, held)
            except NotConnectedError:  # It would fail for the other queues too, after the same wait.
                raise
            except OperationalError as error:  # It may be about this queue only, so the other queues go on.
                failures[queue] = error
        if failures and not has_answered:
            raise next(iter(failures.values()))
        for queue, failure in failures.items():
            self._queue_failures.failed(f"the broker {failure}", queue=queue)
        until_due = due.seconds_until_due(queues, held=held)
        return done, TICK_SECONDS if until_due is None or until_due <= 0 else min(TICK_SECONDS, until_due)

    def _relay(self, queue: str, done: Round, held: Paused) -> bool:
        """Publish messages for the due jobs of a queue, as many as the broker has room for.

        The broker is asked only if there is something to publish; return whether it was. Messages for the
        jobs of a replay queue wait in its live queue, and are so few that those for live jobs wait for next to nothing.
        """
        named = live_queue(queue)
        jobs = self._due_jobs(queue, held)
        now = time.monotonic()
        if not jobs and held:
            self._repeats.forget(queue)
        wanted = self._repeats.wanted(queue, jobs, now=now)
        if not wanted:
            return False
        room = self._broker.room(named)
        for start in range(0, min(room, len(wanted)), MOST_TOGETHER):
            # A broker that is slow must not keep this relay from its other queues and a stop.
            if time.monotonic() >= now + TICK_SECONDS or self._stop.is_set():
                break
            group = wanted[start : min(room, start + MOST_TOGETHER)]
            self._broker.publish([JobToPublish(job.pk, job.handler, job.queue) for job in group])
            done.published += len(group)
        if room:
            self._repeats.published(queue, jobs, now=now)
        return True

    def _due_jobs(self, queue: str, held: Paused) -> Sequence[DueJob]:
        """Return the queue's due jobs that a worker may claim, as many as messages may be published for."""
        if held.has_queue(queue):
            return ()
        own = [subscription.name for subscription in self._subscriptions if subscription.queue == live_queue(queue)]
        handlers = [name for name in own if name not in held.handlers]
        most = MOST_REPLAYED if is_replay_queue(queue) else MOST_JOBS
        limit = min(most, settings.HOOKLINE_QUEUE_WINDOW)
        return due.due_jobs(queue, handlers=handlers, admitted=held.admitted, limit=limit)

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
