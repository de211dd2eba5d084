"""The relay's work without a broker: lost runs, jobs whose handler is elsewhere, gauges, figures, retention, replays.

It has a thread and a database connection of its own. A silent broker may block the publishing for seconds or minutes;
meanwhile leases still end, and the gauges that an autoscaler reads are still true.
"""

import logging
import random
import threading
import time

from django.conf import settings
from django.db import Error, connection

from webhooks.inbox import database, releases, retention, transitions
from webhooks.inbox.destinations import breaker, known
from webhooks.inbox.figures.making import Making
from webhooks.inbox.late_turns import LateTurns
from webhooks.inbox.replays import running as replaying
from webhooks.outage_log import OutageLog
from webhooks.publishing.gauges import InboxGauges
from webhooks.publishing.health import UPKEEP, RelayHealth
from webhooks.publishing.strays import Strays

TICK_SECONDS = 1.0
STRAYS_SECONDS = 5.0
"""How long after all waiting jobs were looked through they are looked through again."""
LEASE_BATCH = 100

logger = logging.getLogger(__name__)


class Upkeep:
    """`run` works until `stop` is set, on a thread of its own; an unforeseen error there ends the process."""

    def __init__(
        self, strays: Strays, *, stop: threading.Event, health: RelayHealth, gauges: InboxGauges | None
    ) -> None:
        self._strays = strays
        self._strays_at = 0.0
        self._stop = stop
        self._health = health
        self._gauges = gauges
        self._late_turns = LateTurns()
        self._figures = Making()
        self._retention = retention.Schedule()
        self._outages = OutageLog(logger, "upkeep waits")

    def run(self) -> None:
        """Take step after step until stopped."""
        try:
            while not self._stop.is_set():
                self._health.heartbeat(UPKEEP)
                self._stop.wait(self._turn())
        finally:
            connection.close()

    def step(self) -> bool:
        """Do what is due, in bounded batches; tell whether more leases may have ended. Raises the database's errors."""
        known.refresh()
        if self._gauges is not None:
            self._gauges.step()
        expired = transitions.expire_leases(limit=LEASE_BATCH)
        self._health.expired(expired)
        if time.monotonic() >= self._strays_at:
            self._strays_at = time.monotonic() + (TICK_SECONDS if self._strays.step() else STRAYS_SECONDS)
            self._late_turns.step()
        self._figures.step()
        releases.seen(settings.HOOKLINE_RELEASE)
        self._retention.step()
        replaying.step()
        if known.is_any():
            breaker.step()
        return expired == LEASE_BATCH

    def _turn(self) -> float:
        """Take a step, and return how long to wait for the next one, also after an outage of the database."""
        try:
            is_behind = database.run(self.step)
        except Error as error:
            database.drop()
            self._outages.failed(f"the database {database.reason(error)}")
            return TICK_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311  So that relays do not all return at once.
        return 0.0 if is_behind else TICK_SECONDS
