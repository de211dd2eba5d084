"""Reads the logs of all hooks again and again, as a process of its own. Several may run: one at a time reads a log."""

import logging
import random
import threading
from collections.abc import Sequence

from django.conf import settings
from django.db import Error, connection

from webhooks.github_api.access import HookAccess
from webhooks.inbox import database
from webhooks.inbox.destinations import known
from webhooks.outage_log import OutageLog
from webhooks.reconciling.health import ReconcilerHealth
from webhooks.reconciling.running import BusyError, Options, reconcile

RETRY_SECONDS = 10.0
"""How soon a log is read again after a failure of the database, or before its tables are there."""

logger = logging.getLogger(__name__)


class Watching:
    """`run` reads until `stop` is set."""

    def __init__(
        self, hooks: Sequence[HookAccess], options: Options, *, stop: threading.Event, health: ReconcilerHealth
    ) -> None:
        self._hooks, self._options, self._stop, self._health = hooks, options, stop, health
        self._outages = OutageLog(logger, "reconciler waits")
        self._busy = OutageLog(logger, "another process reads the log", level=logging.INFO)

    def run(self) -> None:
        logger.info("reconciler started", extra={"hooks": ",".join(f"{one.source} {one.hook}" for one in self._hooks)})
        while not self._stop.is_set():
            had_database = True
            for access in self._hooks:
                self._health.heartbeat()
                if not self._stop.is_set():
                    had_database &= self._read(access)
            seconds = settings.HOOKLINE_RECONCILE_SECONDS if had_database else RETRY_SECONDS
            # Not all at the same moment: others watch the same logs, and find them held.
            self._stop.wait(seconds * random.uniform(0.9, 1.1))  # noqa: S311
        connection.close()

    def _read(self, access: HookAccess) -> bool:
        """Read one hook's log; return whether the database took what was found."""
        try:
            known.refresh()
            for done in reconcile(
                access, self._options, wait=self._stop.wait, watch=lambda _: self._health.heartbeat()
            ):
                self._health.ended(done)
        except BusyError:
            self._busy.failed("held", log=f"{access.source} {access.hook}")
        except Error as error:
            database.drop()
            self._outages.failed(f"the database {database.reason(error)}")
            return False
        return True
