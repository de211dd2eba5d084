"""Celery's consumer without Celery's delays; it tries a broker that is away at moments of its own.

kombu waits 2, 4, 6 … 30 s between its tries. All workers lose the broker in the same moment, so all would knock in the
same moments, and the broker that has just come back would have all of them at once.
"""

from functools import partial
from random import uniform
from typing import Any

from celery.worker import consumer

# Delays live in the inbox. For those of Celery, the step that is left out declares 28 queues on RabbitMQ at each start,
# and warns of each queue of ours that its exchange cannot have them.
_STEPS = [step for step in consumer.Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")]


class Consumer(consumer.Consumer):
    """Named by Celery's setting worker_consumer."""

    Blueprint = type("Blueprint", (consumer.Consumer.Blueprint,), {"default_steps": _STEPS})

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(conn.ensure_connection, **own_steps())
        try:
            return super().ensure_connected(conn)
        finally:
            del conn.ensure_connection  # It refers to the connection, which would be freed much later for it.


def own_steps() -> dict[str, float]:
    """Return the first wait, what each one is longer than that before, and the longest; in seconds, by lot."""
    return {
        # Under 1.01 s Celery's log says that it tries again now, or in "1.00 second".
        "interval_start": uniform(1.01, 3),  # noqa: S311  Nobody gains by guessing it.
        "interval_step": uniform(0.5, 2.5),  # noqa: S311
        "interval_max": uniform(10, 15),  # noqa: S311
    }
