"""The broker, as the receiver's publisher and the relay use it: one message a job, at most a window of them a queue.

A message only names its job; it has no payload. It goes to the job's queue, with the handler's task name and time
limits, which Celery, Flower and the metrics use.
"""

import contextlib
import math
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from amqp.exceptions import MessageNacked
from celery import Celery, current_app
from django.conf import settings
from kombu import Connection, Exchange, Producer, Queue
from kombu.exceptions import OperationalError

from webhooks.inbox.new_delivery import JobToPublish
from webhooks.publishing import reasons
from webhooks.subscriptions.subscription import Subscription

T = TypeVar("T")

MESSAGE_VERSION = 1
"""The value of a message's `hookline` header. In this version the only argument is the job's id."""
DELIVERY_LIMIT = 20
"""How often RabbitMQ delivers a message that comes back unacknowledged. Then it drops the message, and the relay
publishes the job again."""
DEPTH_SECONDS = 1.0
_TIMEOUTS = {
    "amqp": ("connect_timeout", "read_timeout", "write_timeout"),
    "redis": ("socket_connect_timeout", "socket_timeout"),
}
"""The transports' options for how long they wait for an answer, in whatever state the connection is."""


class NotConnectedError(OperationalError):
    """No connection to any node of the broker, so every other call would fail the same way."""


def timeout_seconds() -> float:
    """Return how long the broker may take to answer."""
    return float(settings.CELERY_BROKER_CONNECTION_TIMEOUT)


def job_queue(name: str) -> Queue:
    """Return a queue as all programs declare it: on RabbitMQ a quorum queue, never a classic one."""
    is_quorum = current_app.conf.task_default_queue_type == "quorum"
    return Queue(
        name,
        Exchange(name, type="direct"),
        routing_key=name,
        queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT} if is_quorum else None,
    )


class Nodes:
    """The broker's nodes. A new connection does not begin with one that was silent."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._next = 0

    def connect(self, *, seconds: float | None = None) -> Connection:
        """Return a connection to the first node that answers. After `seconds`, no other node is tried.

        A node that refuses takes no time, a silent one `timeout_seconds()`. Raises the error of the last node tried.
        """
        urls = str(self._app.conf.broker_url).split(";")
        deadline = time.monotonic() + (timeout_seconds() if seconds is None else seconds)
        for left in reversed(range(len(urls))):
            connection = self._new_connection(urls[self._next % len(urls)])
            try:
                return connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
            except Exception:
                connection.collect()
                self.move_on()
                if not left or time.monotonic() >= deadline:
                    raise
        raise AssertionError("There is always one node.")

    def move_on(self) -> None:
        """Leave the node that was connected to: the next connection is to another node, if there are several."""
        self._next += 1

    def _new_connection(self, url: str) -> Connection:
        connection = self._app.connection_for_write(
            url,
            connect_timeout=timeout_seconds(),
            heartbeat=0,  # While the thread sleeps, nothing would send heartbeats.
        )
        timeouts = dict.fromkeys(_TIMEOUTS.get(connection.transport.driver_type, ()), timeout_seconds())
        connection.transport_options = {**(connection.transport_options or {}), **timeouts}
        return connection


@contextlib.contextmanager
def broker_errors() -> Iterator[None]:
    """If the broker does not answer or refuses, raise kombu's OperationalError: words to put after "the broker"."""
    try:
        yield
    except Exception as error:
        transport = current_app.connection_for_write().get_transport_cls()
        # OSError: the embedded broker is a folder, and its disk may be full.
        if isinstance(error, (*transport.connection_errors, *transport.channel_errors, MessageNacked, OSError)):
            raise OperationalError(reasons.reason(error)) from error
        raise


class Broker:
    """One connection to the broker, for one thread.

    Raises kombu's OperationalError with the reason in words to put after "the broker", and is then closed. If it could
    not connect, that is a NotConnectedError.
    """

    def __init__(self) -> None:
        self._nodes = Nodes(current_app)
        self._connection: Any = None
        self._producer: Any = None
        self._depths: dict[str, tuple[float, int]] = {}

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        return self._guarded(self._read_depth, queue)

    def room(self, queue: str, *, share: float = 1.0) -> int:
        """Return how many more messages fit into a share of the queue's window, by a depth at most 1 s old."""
        read_at, depth = self._depths.get(queue, (0.0, 0))
        if not read_at or time.monotonic() - read_at >= DEPTH_SECONDS:
            depth = self.depth(queue)
            self._depths[queue] = (time.monotonic(), depth)
        window: int = settings.HOOKLINE_QUEUE_WINDOW
        return max(0, math.ceil(window * share) - depth)

    def publish(self, job: JobToPublish, subscription: Subscription) -> None:
        """Put a job's message on its queue; on RabbitMQ, return once the broker has confirmed it."""
        self._guarded(self._publish, job, subscription)
        read_at, depth = self._depths.get(job.queue, (0.0, 0))
        self._depths[job.queue] = (read_at, depth + 1)

    def close(self) -> None:
        """Drop the connection at once: a silent broker would not answer a clean close. The next call opens another."""
        connection, self._connection, self._producer = self._connection, None, None
        self._depths.clear()
        if connection is not None:
            connection.collect()

    def _guarded(self, call: Callable[..., T], *args: Any) -> T:
        try:
            if self._connection is None:
                self._connect()
            with broker_errors():
                return call(*args)
        except OperationalError as error:
            # A healthy node may refuse a call. The next node is tried only if the connection itself has failed.
            if self._connection and isinstance(error.__cause__, self._connection.connection_errors):
                self._nodes.move_on()
            self.close()
            raise

    def _connect(self) -> None:
        try:
            with broker_errors():
                self._connection = self._nodes.connect()
                self._producer = Producer(self._connection.channel(), auto_declare=False)
        except OperationalError as error:
            raise NotConnectedError(*error.args) from error.__cause__

    def _read_depth(self, queue: str) -> int:
        # To declare an existing queue changes nothing, and answers with the depth, as a passive declare does.
        declared: Any = job_queue(queue)(self._producer.channel).queue_declare()
        return int(declared.message_count)

    def _publish(self, job: JobToPublish, subscription: Subscription) -> None:
        task_id = f"{job.id}-{uuid.uuid4()}"
        message = current_app.amqp.as_task_v2(
            task_id,
            subscription.name,
            args=(job.id,),
            time_limit=subscription.time_limit,  # type: ignore[arg-type]  # Seconds; fractions are fine.
            soft_time_limit=subscription.soft_time_limit,  # type: ignore[arg-type]
            ignore_result=True,
        )
        self._producer.publish(
            message.body,
            exchange="",
            routing_key=job.queue,
            serializer="json",
            headers={**message.headers, "hookline": MESSAGE_VERSION},
            confirm_timeout=timeout_seconds(),
            **message.properties,
        )
