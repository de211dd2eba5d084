"""Logs, after a worker's start, that its inbox cannot be used as long as that is so: no database, or not migrated.

No relay publishes from such an inbox, so no child would notice. The parent must not touch the database: it has a child
ask, and logs the answer. The check ends when the inbox can be used: from then on, a child that cannot claim logs that.
"""

import logging
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.bootsteps import StartStopStep
from django.db import Error

from webhooks.inbox import database, transitions
from webhooks.outage_log import OutageLog
from workers.runs.pool_work import do_in_child

ASK_SECONDS = 5.0

logger = logging.getLogger(__name__)


class InboxCheck(StartStopStep):
    """A step of the Celery worker, with a timer of its own."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(self, worker: Any, **_options: Any) -> None:
        self._worker = worker
        self._outages = OutageLog(logger, "worker waits", level=logging.ERROR)
        self._timer: Any = None
        self._is_asked = False

    def start(self, worker: Any) -> None:
        worker.timer.call_after(0, self._ask)  # The pool takes no work before the loop turns.
        self._timer = worker.timer.call_repeatedly(ASK_SECONDS, self._ask)

    def register_with_event_loop(self, _worker: Any, _hub: Any) -> None:
        """Ask again after the connection to the broker was lost: Celery then drops work that waits for a free child."""
        self._is_asked = False

    def _ask(self) -> None:
        if self._is_asked:
            return
        self._is_asked = True
        do_in_child(self._worker, inbox_fault, callback=self._take_answer, error_callback=self._ask_again)

    def _take_answer(self, fault: str) -> None:
        if fault:
            self._is_asked = False
            self._outages.failed(fault)
        elif self._timer is not None:
            self._timer.cancel()

    def _ask_again(self, _error: ExceptionInfo) -> None:
        """Ask again at the next tick: the child has ended before it could answer."""
        self._is_asked = False


def inbox_fault() -> str:
    """Return why the inbox cannot be used, or "" if it can."""
    try:
        # A claim of a job that does not exist changes nothing, and needs the same tables as any claim.
        database.run(partial(transitions.claim, 0, worker="", pid=0, lease_seconds=0.0))
    except Error as error:
        return f"the database {database.reason(error)}"
    return ""
