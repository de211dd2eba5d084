"""Runs transactions beside the request, and bounds how long the request waits for one.

Socket options cannot promise that: a connection to a PostgreSQL that is up but silent blocks past every timeout. So the
transaction runs on a thread of its own, and the request waits for it for a bounded time. While the last try failed,
requests are refused at once; one of them a moment tries again.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitTimeoutError
from typing import Any, TypeVar

from django.db import Error, InterfaceError, OperationalError, connection
from prometheus_client import Counter

WAIT_SECONDS = 1.5
RETRY_SECONDS = 0.5

UNAVAILABLE = Counter("hookline_inbox_unavailable_total", "Transactions refused or failed for want of the database.")

T = TypeVar("T")
logger = logging.getLogger(__name__)


class InboxUnavailableError(Exception):
    """The database is down, silent or not ready; whether the transaction landed is not known."""


class _Task:
    """One transaction and the connection it runs on, so that whoever stops waiting can cut it off."""

    def __init__(self, work: Callable[[], Any], *, wait_seconds: float) -> None:
        self._work = work
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._raw: Any = None
        self._is_abandoned = False

    def run(self) -> Any:
        try:
            is_reused = connection.connection is not None
            try:
                return self._attempt()
            except (OperationalError, InterfaceError):
                connection.close()
                # A connection that was cut while idle (a restart, a proxy) says so only now: one try on a new one.
                if not is_reused or self._is_abandoned:
                    raise
                return self._attempt()
        finally:
            with self._lock:
                self._raw = None

    def _attempt(self) -> Any:
        if connection.connection is None:
            connection.ensure_connection()
            if connection.vendor == "sqlite":
                # Give up the wait for another writer just before the request does.
                with connection.cursor() as cursor:
                    cursor.execute(f"PRAGMA busy_timeout = {int(self._wait_seconds * 900)}")
        with self._lock:
            self._raw = connection.connection
        return self._work()

    def abandon(self) -> None:
        """Shut the socket under a transaction that does not end, which frees its thread. Only libpq has one."""
        with self._lock:
            self._is_abandoned = True
            descriptor = getattr(self._raw, "fileno", None)
            if descriptor is None:
                return
            with contextlib.suppress(Exception), socket.socket(fileno=os.dup(descriptor())) as shared:
                shared.shutdown(socket.SHUT_RDWR)


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

    @property
    def is_available(self) -> bool:
        """Whether the last try succeeded; true before the first."""
        return self._refuse_until is None

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` on a committer thread and return its result, waiting for it for a bounded time."""
        self._enter()
        task = _Task(work, wait_seconds=self._wait_seconds)
        future: Future[T] = self._pool.submit(task.run)
        try:
            result = future.result(self._wait_seconds)
        except WaitTimeoutError:
            if not future.cancel():
                task.abandon()
            raise self._refusal("silent") from None
        except (OperationalError, InterfaceError) as error:
            raise self._refusal(type(error).__name__) from error
        except Error as error:
            # The database answers and will not take this one: no reason to refuse the next.
            UNAVAILABLE.inc()
            # Its message is not logged: it shows values of the row.
            logger.error("transaction refused by the database", extra={"error": type(error).__name__})
            raise InboxUnavailableError from error
        self._refuse_until = None
        return result

    def _enter(self) -> None:
        """Refuse at once while the last try failed, but for one request a moment, which tries again."""
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
            if self._refuse_until is None:
                logger.error("inbox unavailable", extra={"reason": reason})
            self._refuse_until = time.monotonic() + self._retry_seconds
        return InboxUnavailableError()
