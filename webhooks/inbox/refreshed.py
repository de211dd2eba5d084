"""Keeps an answer of the database at hand: a thread asks for it every second, and everybody else reads memory.

It is for what is needed at every request or job and changes seldom, such as a source's secrets. A change reaches every
running process within about two seconds, and costs no request a query. While the database is down or silent, the last
answer stays.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

from django.db import Error, connection

from webhooks import outage_reasons
from webhooks.inbox import database
from webhooks.inbox.bounded import BoundedTransaction
from webhooks.outage_log import OutageLog
from webhooks.threads import start_thread

EVERY_SECONDS = 1.0
WAIT_SECONDS = 2.0
"""How long it waits for an answer, also for the first one, at the start."""
STOP_SECONDS = 2.0

T = TypeVar("T")
logger = logging.getLogger(__name__)


class _SilentError(Exception):
    """The database has not answered in time."""


class Refreshed(Generic[T]):
    """The newest answer of `read`. `start` and `stop` frame the thread that asks.

    `then` is called with each answer, once it can be read here; if it fails, the answer stays. Both are called on a
    thread with a connection of its own, and must be safe to do twice.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], T],
        *,
        then: Callable[[T], None] = lambda _answer: None,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._name = name
        self._read = read
        self._then = then
        self._every_seconds = every_seconds
        self._answer: T | None = None
        self._has_tried = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._outages = OutageLog(logger, f"{name} not refreshed", level=logging.INFO)  # The inbox says so louder.

    @property
    def answer(self) -> T | None:
        """The newest answer; None before the first."""
        return self._answer

    @property
    def is_awaited(self) -> bool:
        """Whether it was started, and has no answer yet."""
        return self._thread is not None and self._answer is None

    def start(self) -> None:
        """Ask from now on. Returns once there is an answer, or the first try has failed."""
        self._stop.clear()
        self._thread = start_thread(self._name, self._run)
        self._has_tried.wait(2 * WAIT_SECONDS)

    def stop(self) -> None:
        """End the thread; give up on it after STOP_SECONDS."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        pool = ThreadPoolExecutor(1, thread_name_prefix=f"{self._name}-read")
        try:
            while not self._stop.is_set():
                self._turn(pool)
                self._has_tried.set()
                self._stop.wait(self._every_seconds)
        finally:
            wait([pool.submit(connection.close)], WAIT_SECONDS)
            pool.shutdown(wait=False)

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        try:
            answer = self._answer = _within(pool, self._read)
            self._has_tried.set()
            _within(pool, lambda: self._then(answer))
        except _SilentError:
            self._outages.failed(f"the database {outage_reasons.TIMED_OUT}")
        except Error as error:
            self._outages.failed(f"the database {database.reason(error)}")


def _within(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Return what `work` returns on the pool's thread, or raise _SilentError after WAIT_SECONDS."""
    bounded = BoundedTransaction(work, wait_seconds=WAIT_SECONDS)
    future: Future[Any] = pool.submit(bounded.run)
    wait([future], WAIT_SECONDS)
    if future.done():
        result: T = future.result()
        return result
    if not future.cancel():
        bounded.abandon()
    raise _SilentError
