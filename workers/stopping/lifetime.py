"""A worker's lifetime: after HOOKLINE_WORKER_MAX_SECONDS it stops warmly, and its supervisor starts a new one.

The time is up to a tenth more or less, at random, so that workers which started together do not stop together.
"""

import logging
import random
import time
from typing import Any

from celery.bootsteps import StartStopStep
from django.conf import settings

from workers.stopping.flag import begin_stop

JITTER = 0.1

logger = logging.getLogger(__name__)
_stops_at = 0.0


def stops_at() -> float:
    """Return when this worker will stop by itself, in seconds since the epoch; 0.0 for never."""
    return _stops_at


class Lifetime(StartStopStep):
    """Ends the worker's life in time: a step of the Celery worker, with a timer."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def start(self, worker: Any) -> None:
        global _stops_at  # noqa: PLW0603  A process has one lifetime.
        if not settings.HOOKLINE_WORKER_MAX_SECONDS:
            return
        seconds = settings.HOOKLINE_WORKER_MAX_SECONDS * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        _stops_at = time.time() + seconds
        logger.info("worker will stop by itself", extra={"in_seconds": round(seconds, 1)})
        worker.timer.call_after(seconds, _end)


def _end() -> None:
    logger.info("worker stops: its lifetime is over")
    begin_stop()
