"""Shortens two waits of Celery that delay a stop.

- A child that ends waits up to 30 s until its parent has read its last result. In a stop the parent may have discarded
  the job and then reads nothing: one stop in ten of a busy worker took those 30 s. This replaces a method of billiard
  4.3; `tests/workers/test_stopping.py` fails if a release has another name for it. Decision 0010 has the figures.
- Without an event loop, Celery's consumer waits for two seconds at a time, and a signal does not end the wait.
"""

import time
from typing import Any

from billiard import pool
from celery.bootsteps import StartStopStep

from workers.stopping.flag import is_stopping

READ_TRIES = 5
"""How often a child looks, in a stop, whether its last result was read; every tenth of a second."""
DRAIN_SECONDS = 0.2


def shorten_childrens_wait() -> None:
    """Shorten the first wait for the children that this process forks. Called once, in a worker's parent process."""
    wait_for_the_parent = pool.Worker._ensure_messages_consumed  # type: ignore[attr-defined]  # The stubs lack it.

    def wait_briefly(self: Any, completed: int) -> Any:
        if not is_stopping():
            return wait_for_the_parent(self, completed)
        for _ in range(READ_TRIES):
            if not self.on_ready_counter or self.on_ready_counter.value >= completed:
                break
            time.sleep(pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL)
        return True

    pool.Worker._ensure_messages_consumed = wait_briefly  # type: ignore[attr-defined]


class ShortWaits(StartStopStep):
    """A step of Celery's consumer: without an event loop, it looks more often whether the worker is to stop."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        if consumer.hub is None:
            drain_events = consumer.connection.drain_events
            consumer.connection.drain_events = lambda timeout=None: drain_events(timeout=DRAIN_SECONDS)
