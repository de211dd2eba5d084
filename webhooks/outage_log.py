"""Logs what fails again and again, as long as it lasts: at once, and then at growing intervals."""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 600.0
OVER_SECONDS = 60.0
"""What has not failed for so long is over; the next failure is a new one."""


@dataclass(slots=True)
class _Failure:
    began_at: float
    last_at: float
    next_line_at: float
    interval_seconds: float = FIRST_SECONDS
    times: int = 0


class OutageLog:
    """One sentence, for failures told apart by their reason and fields. May be used by several threads."""

    def __init__(self, logger: logging.Logger, sentence: str, *, level: int = logging.WARNING) -> None:
        self._logger = logger
        self._sentence = sentence
        self._level = level
        self._failures: dict[tuple[Any, ...], _Failure] = {}
        self._lock = threading.Lock()

    def failed(self, reason: str, **fields: str) -> None:
        """Log it if it is new or its interval is over; a line also says how often it has failed until then."""
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
            told = {"times": failure.times, "for_seconds": round(now - failure.began_at)}
        self._logger.log(self._level, self._sentence, extra={**fields, "reason": reason, **told})
