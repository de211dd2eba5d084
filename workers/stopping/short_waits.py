"""Shortens waits of Celery's pool that would hold up a stop. Each replaces one name of theirs; nothing else is touched.

- A child that ends waits up to 30 s for its parent to have read its last result. A stop may have discarded the job, and
  then nobody reads it: one stop in ten of a busy worker took those 30 s.
- The parent sleeps half a second between two looks at its children, and as long again before it leaves, which alone
  made it 1.0 to 1.9 s from the last handler's end to the exit.

Seen in celery 5.7.0 and billiard 4.3; `tests/workers/test_stopping.py` says if a release has other names.
"""

import time
from typing import Any

from billiard import pool
from celery.bootsteps import StartStopStep
from celery.concurrency import asynpool, prefork

from workers.stopping.flag import is_stopping

LOOK_SECONDS = 0.05
DRAIN_SECONDS = 0.2
READ_TRIES = 5
"""How often a child of a worker that stops looks whether its last result was read, a tenth of a second apart."""


class _BriefTime:
    """The module `time`, but for long sleeps."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, LOOK_SECONDS))


def shorten_waits() -> None:
    """Do so for this process and what it forks. Called once, in a worker's parent process."""
    prefork.time = _BriefTime()  # type: ignore[attr-defined]
    asynpool.sleep = _BriefTime.sleep  # type: ignore[attr-defined]
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
    """Where the broker has no event loop, has the consumer look up often enough to see that it is to stop.

    A step of Celery's consumer. Its own waits are of two seconds, and a signal does not end them.
    """

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        if consumer.hub is None:
            drain_events = consumer.connection.drain_events
            consumer.connection.drain_events = lambda timeout=None: drain_events(timeout=DRAIN_SECONDS)
