"""Runs a request's transaction on another thread, and limits how long the request waits for it.

The request stops waiting `WAIT_SECONDS` after its own transaction has begun, or when the database has committed nothing
at all for `WAIT_SECONDS`. A long queue is no fault of the database: while other transactions are committed, a request
waits for its turn, for `LONGEST_SECONDS` at most.

After the database was found down or silent, requests are refused at once, except one every `RETRY_SECONDS`, which tries
the database again.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from django.db import Error
from prometheus_client import Counter

from webhooks import outage_reasons
from webhooks.inbox import database
from webhooks.inbox.bounded import BoundedTransaction
from webhooks.outage_log import OutageLog

WAIT_SECONDS = 2.0
RETRY_SECONDS = 0.5
LONGEST_SECONDS = 8.0
"""GitHub closes the connection after ten: https://docs.github.com/en/webhooks/using-webhooks/best-practices-for-using-webhooks"""
BYTES_PER_SECOND = 5_000_000
"""A transaction gets time for what it stores at this rate, on top of `WAIT_SECONDS`."""

UNAVAILABLE = Counter(
    "hookline_inbox_unavailable_total", "Transactions refused or failed since the database was not available."
)

T = TypeVar("T")
logger = logging.getLogger(__name__)


class InboxUnavailableError(Exception):
    """The database is down, silent or not ready. The transaction may still have been committed."""


class _WaitedTooLongError(Exception):
    """The request waits no longer."""


class Committer:
    """A few threads with a database connection each. Raises InboxUnavailableError."""

    def __init__(
        self, *, threads: int, wait_seconds: float = WAIT_SECONDS, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="committer")
        self._wait_seconds = wait_seconds
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._refuse_until: float | None = None
        self._last_success = 0.0
        self._log = OutageLog(logger, "inbox unavailable", level=logging.ERROR)
        self.reason = ""
        """What is wrong with the database while it is not available: words to put after "the database"."""

    @property
    def is_available(self) -> bool:
        """Whether the last try succeeded; true before the first."""
        return self._refuse_until is None

    @property
    def idle_seconds(self) -> float:
        """How long ago the last transaction was committed."""
        return time.monotonic() - self._last_success

    def run(self, work: Callable[[], T], *, stored_bytes: int = 0) -> T:
        """Run `work`, which stores so many bytes, on a thread; return its result, or raise after the longest wait."""
        self._enter()
        submitted = time.monotonic()
        wait_seconds = self._wait_seconds + stored_bytes / BYTES_PER_SECOND
        task = BoundedTransaction(work, wait_seconds=self._wait_seconds)
        future: Future[T] = self._pool.submit(self._perform, task)
        try:
            return self._result(future, task, submitted=submitted, wait_seconds=wait_seconds)
        except _WaitedTooLongError:
            if not future.cancel():
                task.abandon()
            raise self._timeout(submitted) from None
        except Error as error:
            if database.is_outage(error):
                raise self._refusal(database.reason(error)) from error
            # The database answers, and refuses only this transaction: no reason to refuse the next one.
            UNAVAILABLE.inc()
            # The error's message is not logged, since it shows values of the row.
            logger.error("transaction refused by the database", extra={"error": type(error).__name__})
            raise InboxUnavailableError from error

    def _perform(self, task: BoundedTransaction) -> Any:
        result = task.run()
        self._last_success = time.monotonic()
        if self._refuse_until is not None:
            database.mark_others_stale()
        self._refuse_until = None
        self.reason = ""
        return result

    def _result(self, future: "Future[T]", task: BoundedTransaction, *, submitted: float, wait_seconds: float) -> T:
        """Return the result, or raise _WaitedTooLongError once the database or this transaction seems silent."""
        while True:
            deadline = min(submitted + LONGEST_SECONDS, max(submitted, self._last_success) + wait_seconds)
            if task.began is not None:
                deadline = min(deadline, task.began + wait_seconds)
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                raise _WaitedTooLongError
            # In steps: another transaction's commit, or the begin of this one, moves the deadline.
            wait([future], min(left_seconds, wait_seconds))
            if future.done():
                return future.result()

    def _timeout(self, submitted: float) -> InboxUnavailableError:
        """Refuse one request. If nothing at all was committed while it waited, the database counts as silent."""
        if self._last_success < submitted:
            database.mark_all_stale()
            return self._refusal(outage_reasons.TIMED_OUT)
        UNAVAILABLE.inc()
        logger.error("transaction abandoned", extra={"reason": "took too long"})
        return InboxUnavailableError()

    def _enter(self) -> None:
        """Refuse at once after a failure, except one request every `RETRY_SECONDS`, which tries the database again."""
        with self._lock:
            if self._refuse_until is None:
                return
            if time.monotonic() < self._refuse_until:
                UNAVAILABLE.inc()
                raise InboxUnavailableError
            self._refuse_until = time.monotonic() + self._wait_seconds + self._retry_seconds

    def _refusal(self, reason: str) -> InboxUnavailableError:
        UNAVAILABLE.inc()
        with self._lock:
            self._refuse_until = time.monotonic() + self._retry_seconds
            self.reason = reason
        self._log.failed(reason)
        return InboxUnavailableError()
