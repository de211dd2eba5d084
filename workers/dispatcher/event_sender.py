"""Sends events to the broker in groups, on a thread of its own. Nobody waits for it, and no broker confirms an event.

While the broker is away or silent, events wait in a queue of a fixed size; what does not fit is dropped and counted.
"""

import logging
import queue
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import orjson
from celery import current_app
from celery.events.event import get_exchange
from kombu import Producer
from kombu.exceptions import OperationalError
from prometheus_client import CollectorRegistry, Counter

from webhooks.outage_log import OutageLog
from webhooks.publishing.broker import Nodes, broker_errors
from webhooks.threads import place_of, start_thread
from workers.dispatcher.events import Event

MOST_WAITING = 10_000
MOST_TOGETHER = 1_000
GATHER_SECONDS = 0.1
"""How long events gather for a group."""
PAUSE_SECONDS = 5.0
"""The longest pause after a group that could not be sent."""

logger = logging.getLogger(__name__)


class EventSender:
    """Sends what is put, until it is closed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._dropped = Counter(
            "hookline_worker_events_dropped",
            "Events for Flower that were dropped: the broker was away, or too slow for them.",
            registry=registry,
        )
        self._waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._is_closing = threading.Event()
        self._outages = OutageLog(logger, "events dropped")
        self._nodes = Nodes(current_app, is_confirmed=False)
        self._connection: Any = None
        self._thread = start_thread("events", self._run)

    def put(self, event: Event) -> None:
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(event)
        else:
            self._dropped.inc()

    def close(self, *, seconds: float) -> None:
        """Send what waits, for so long at most."""
        self._is_closing.set()
        self._waiting.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            group = [self._waiting.get()]
            if self._waiting.qsize() < MOST_TOGETHER:
                self._is_closing.wait(GATHER_SECONDS)
            group += self._next()
            is_last = group[-1] is None
            events = [event for event in group if event is not None]
            if events and not self._send(events):
                self._dropped.inc(len(events))
                self._drop_connection()
                if is_last or self._is_closing.wait(random.uniform(0.2, 1.0) * PAUSE_SECONDS):  # noqa: S311
                    return

    def _next(self) -> Iterator[Event | None]:
        with suppress(queue.Empty):
            for _ in range(MOST_TOGETHER - 1):
                yield self._waiting.get_nowait()

    def _send(self, events: Sequence[Event]) -> bool:
        try:
            with broker_errors():
                self._publish(events)
        except OperationalError as error:
            self._outages.failed(f"the broker {error}")
        except Exception as error:  # Of kombu, perhaps: no fault in sending events may end the dispatcher.
            self._outages.failed(f"events cannot be sent ({place_of(error)})")
        else:
            return True
        return False

    def _publish(self, events: Sequence[Event]) -> None:
        if self._connection is None:
            self._connection = self._nodes.connect()
            exchange = get_exchange(self._connection, name=current_app.conf.event_exchange)
            self._producer = Producer(self._connection.channel(), exchange=exchange, auto_declare=True)
        # A list is a group, to the key of a group. The transient mode: a broker that restarts has forgotten Flower too.
        self._producer.publish(
            orjson.dumps(events),
            routing_key="task.multi",
            delivery_mode=1,
            content_type="application/json",
            content_encoding="utf-8",
        )

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect()
            self._nodes.move_on()
