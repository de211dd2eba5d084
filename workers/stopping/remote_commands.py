"""What a worker answers to over Celery's remote control: who it is, and that it is to stop.

Imported in a worker's parent process, where Celery finds the commands by their registration. `remote_stop.py` asks.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

from celery.worker.control import control_command, inspect_command

from workers.stopping.flag import PLANNED, STAY_DOWN, begin_stop, is_stopping

INSTANCE = secrets.token_hex(8)
"""Tells this process from one of the same name before or after it: a container started again keeps its node's name."""
_started = time.monotonic()

logger = logging.getLogger(__name__)


@inspect_command()
def hookline_worker(state: Any, **_options: Any) -> dict[str, Any]:
    """Say who this worker is, since when it runs, by durations alone, and what it consumes from."""
    return _answer(state)


@control_command()
def hookline_stop(
    state: Any, instances: Sequence[str] = (), stay_down: bool = False, **_options: Any
) -> dict[str, Any]:
    """Stop after the current jobs, if this worker is one of those that are meant; say who it is, and whether it stops.

    The answer is the last that the worker gives.
    """
    if INSTANCE in instances and not is_stopping():
        logger.info("worker stops: it was asked to", extra={"stay_down": stay_down})
        begin_stop(STAY_DOWN if stay_down else PLANNED)
    return _answer(state)


def _answer(state: Any) -> dict[str, Any]:
    return {
        "instance": INSTANCE,
        "age_seconds": time.monotonic() - _started,
        "queues": sorted(state.app.amqp.queues.consume_from),
        "is_stopping": is_stopping(),
    }
