"""Logs a failure that repeats: the first time at once, then at growing intervals as long as it lasts."""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 600.0
OVER_SECONDS = 60.0
"""A failure that has not happened for so long is over; after that it is logged as a new one."""


@dataclass(slots=True)
class _Failure:
    began_at: float
    last_at: float
    next_line_at: float
    interval_seconds: float = FIRST_SECONDS
    times: int = 0


class OutageLog:
    """Logs one sentence. Failures that differ in reason or fields are counted separately. Threads may share it."""

    def __init__(self, logger: logging.Logger, sentence: str, *, level: int = logging.WARNING) -> None:
        self._logger = logger
        self._sentence = sentence
        self._level = level
        self._failures: dict[tuple[Any, ...], _Failure] = {}
        self._lock = threading.Lock()

    def failed(self, reason: str, **fields: str) -> None:
        """Log the failure, with its count and duration, if it is new or its interval has passed."""
        now = time.monotonic()
        with self._lock:
            failure = self._failures.get((reason, *fields.values()))
            if failure is None or now - failure.last_at > OVER_SECONDS:
                failure = self._failures[reason, *fields.values()] = _Failure(now, now, now)
            failure.last_at = now
            failure.times += 1
            if now < failure.next_line_at:
                return
            failure.next_line_at = now + failure.interval_seconds
            failure.interval_seconds = min(LONGEST_SECONDS, 2 * failure.interval_seconds)
            so_far = {"times": failure.times, "for_seconds": round(now - failure.began_at)}
        self._logger.log(self._level, self._sentence, extra={**fields, "reason": reason, **so_far})
