"""Counts what came of the webhooks sent to this receiver, by minute, and writes the counts beside the requests.

A request costs an addition in memory. A thread with a connection of its own writes the counts every ten seconds, each
minute's as they stand: writing them twice changes nothing. Without a database they are kept, of the newest minutes.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from django.conf import settings
from django.db import Error, connection

from webhooks.inbox import database, releases
from webhooks.inbox.figures.histogram import ANSWERED, BUCKETS, bucket_of
from webhooks.models import AnswerMinute
from webhooks.outage_log import OutageLog
from webhooks.threads import start_thread

EVERY_SECONDS = 10.0
STOP_SECONDS = 2.0
"""How long a stop waits for the last counts: a database that is silent must not hold it."""
MOST_MINUTES = 120
"""Of so many minutes counts are kept while the database is down."""
_COLUMNS = ["count", "seconds", *(f"took_{place}" for place in range(BUCKETS))]

logger = logging.getLogger(__name__)


class _Minute:
    """The counts of one minute and result."""

    __slots__ = ("count", "is_written", "seconds", "took")

    def __init__(self) -> None:
        self.count, self.seconds, self.took = 0, 0.0, [0] * BUCKETS
        self.is_written = False


class AnswerCounts:
    """One process's counts. `note` may be called by any thread; `start` and `stop` frame the thread that writes."""

    def __init__(self) -> None:
        # A process that is started again, with the same number, must not replace what the one before it has counted.
        self._name = f"{socket.gethostname()[:70]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._minutes: dict[tuple[datetime, str], _Minute] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._outages = OutageLog(logger, "answer counts wait", level=logging.INFO)  # The inbox says so louder.

    def note(self, result: str, seconds: float) -> None:
        """Count an answer with its result (measures.py), and how long it took."""
        key = _minute(time.time()), result
        with self._lock:
            minute = self._minutes.get(key)
            if minute is None:
                minute = self._minutes[key] = _Minute()
            minute.count += 1
            minute.seconds += seconds
            minute.took[bucket_of(seconds, ANSWERED)] += 1
            minute.is_written = False

    def start(self) -> None:
        self._thread = start_thread("answer-counts", self._run)

    def stop(self) -> None:
        """Write what is left, and end the thread; give up on it after STOP_SECONDS."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def write(self) -> None:
        """Write the counts that have changed, and forget minutes that are over. Raises the database's errors."""
        rows = self._changed()
        if rows:
            AnswerMinute.objects.bulk_create(
                rows, update_conflicts=True, unique_fields=["at", "receiver", "result"], update_fields=_COLUMNS
            )
        self._forget(rows)

    def _run(self) -> None:
        try:
            is_last = False
            while not is_last:
                is_last = self._stop.wait(EVERY_SECONDS)
                self._turn()
        finally:
            connection.close()

    def _turn(self) -> None:
        try:
            database.run(self._step)
        except Error as error:
            database.drop()
            self._outages.failed(f"the database {database.reason(error)}")

    def _step(self) -> None:
        releases.seen(settings.HOOKLINE_RELEASE)
        self.write()

    def _changed(self) -> list[AnswerMinute]:
        """Return rows for the counts that are not written as they stand; drop the oldest if there are too many."""
        with self._lock:
            kept = sorted({at for at, _ in self._minutes})[-MOST_MINUTES:]
            self._minutes = {key: minute for key, minute in self._minutes.items() if key[0] >= kept[0]}
            return [self._row(key, minute) for key, minute in self._minutes.items() if not minute.is_written]

    def _row(self, key: tuple[datetime, str], minute: _Minute) -> AnswerMinute:
        at, result = key
        took = {f"took_{place}": count for place, count in enumerate(minute.took)}
        return AnswerMinute(
            at=at, receiver=self._name, result=result, count=minute.count, seconds=minute.seconds, **took
        )

    def _forget(self, written: Iterable[AnswerMinute]) -> None:
        """Mark what was written, and remove minutes that are over: no answer adds to them any more."""
        is_over = _minute(time.time() - 120)
        with self._lock:
            for row in written:
                minute = self._minutes[row.at, row.result]
                minute.is_written = minute.count == row.count
            self._minutes = {
                key: minute for key, minute in self._minutes.items() if not minute.is_written or key[0] >= is_over
            }


def _minute(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds // 60 * 60, tz=UTC)
