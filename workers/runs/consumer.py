"""Celery's consumer without Celery's delays. It tries without end to reach a broker that is away or refuses it.

kombu waits 2, 4, 6 … 30 s between its tries. All workers lose the broker in the same moment, so all would try again
in the same moments, and a broker that has just come back would get all of them at once: here each waits at random.

If the broker refuses the login or the virtual host, Celery gives up. If it refuses a queue, it does so after the
connection is made, and Celery would connect again at once, again and again, with a traceback. Here the worker waits
between its tries in both cases.
"""

import logging
import time
from collections.abc import Iterator
from random import uniform
from typing import Any

from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from kombu.exceptions import OperationalError

from webhooks.outage_log import OutageLog
from webhooks.publishing import reasons

LOOK_SECONDS = 0.2
SHORT_LIFE_SECONDS = 5.0
"""If a connection is lost within this time, the broker has refused it a queue; the worker waits before the next."""

logger = logging.getLogger(__name__)

# Jobs that are due later wait in the inbox, not in Celery's delayed delivery. That step declares 28 queues on RabbitMQ
# at each start, and warns that the exchanges of Hookline's queues cannot be used with it.
_STEPS = [step for step in consumer.Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")]


class Consumer(consumer.Consumer):
    """The consumer that Celery's setting worker_consumer names."""

    Blueprint = type("Blueprint", (consumer.Consumer.Blueprint,), {"default_steps": _STEPS})

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._outages = OutageLog(logger, "worker waits", level=logging.ERROR)
        self._waits = own_waits()
        self._connected_at: float | None = None

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, after any number of tries; only a stop ends this. All nodes are tried before each wait."""
        waits, tries = own_waits(), 0
        # An error that kombu calls irrecoverable, such as a refused login, may be corrected while the worker waits.
        errors = (*conn.connection_errors, *conn.channel_errors, OperationalError, OSError)
        while True:
            try:
                conn.ensure_connection(max_retries=0, reraise_as_library_errors=False)
            except errors as error:
                self._outages.failed(f"the broker {reasons.reason(error)}")
                is_round = conn.completes_cycle(tries)
                conn.maybe_switch_next()
                tries += 1
                wait(next(waits) if is_round else 0.0)
            else:
                self.first_connection_attempt = False
                self._connected_at = time.monotonic()
                return conn

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
        """Return the connection for the worker's own events, of which RabbitMQ confirms none.

        Celery would wait for each confirmation on the loop, and a silent broker would hold it.
        """
        connection = self.app.connection_for_write(url=url, heartbeat=heartbeat)
        options = connection.transport_options or {}
        connection.transport_options = {name: value for name, value in options.items() if name != "confirm_publish"}
        return self.ensure_connected(connection)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let Celery clean up, give its log the reason in words, and wait if the connection was lost soon."""
        reason = f"the broker {reasons.reason(exc)}"
        super().on_connection_error_after_connected(OperationalError(reason))
        if self._connected_at is None or time.monotonic() - self._connected_at >= SHORT_LIFE_SECONDS:
            self._waits = own_waits()
            return
        self._outages.failed(reason)
        wait(next(self._waits))


def wait(seconds: float) -> None:
    """Wait. If the worker is to stop, raise the exception by which Celery ends it."""
    logger.debug("the broker is tried again", extra={"seconds": round(seconds, 2)})
    ends_at = time.monotonic() + seconds
    while (left := ends_at - time.monotonic()) > 0:
        maybe_shutdown()
        time.sleep(min(LOOK_SECONDS, left))
    maybe_shutdown()


def own_waits() -> Iterator[float]:
    """Yield how long to wait after each failed try, in seconds, at random."""
    seconds, step, longest = uniform(1, 3), uniform(0.5, 2.5), uniform(10, 15)  # noqa: S311  Nobody gains by guessing.
    while True:
        yield min(seconds, longest)
        seconds += step
