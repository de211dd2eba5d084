"""The worker's commands of Celery's remote control: one reports which worker this is, one stops it.

A worker's parent process imports this module, which registers the commands. `remote_stop.py` sends them.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

from celery.worker.control import control_command, inspect_command

from workers.stopping.flag import PLANNED, STAY_DOWN, begin_stop, is_stopping

INSTANCE = secrets.token_hex(8)
"""Identifies this process among workers of one name: a container that is started again keeps its node's name."""
_started = time.monotonic()

logger = logging.getLogger(__name__)


@inspect_command()
def hookline_worker(state: Any, **_options: Any) -> dict[str, Any]:
    """Return which worker this is, for how long it has run, and from which queues it consumes."""
    return _answer(state)


@control_command()
def hookline_stop(
    state: Any, instances: Sequence[str] = (), stay_down: bool = False, **_options: Any
) -> dict[str, Any]:
    """Stop after the current jobs if this worker is among `instances`; answer as `hookline_worker` does.

    A worker that stops gives no further answer.
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
