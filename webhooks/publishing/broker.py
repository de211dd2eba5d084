"""The broker, as the receiver's publisher and the relay use it: at most a window of messages a queue.

A message says that there is work in its queue, and no more: a worker that takes it asks the inbox for jobs. It names a
job that waits, and its handler as the task, so that workers of the release before this one can read it. For the jobs of
destinations, whose handlers are not known as a worker starts, it names a task of the queue.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from amqp.exceptions import MessageNacked
from celery import Celery, current_app
from django.conf import settings
from kombu import Connection, Exchange, Producer, Queue
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]  # The stubs lack one.

from webhooks.destination_handlers import destination_of, task_of
from webhooks.inbox.new_delivery import JobToPublish
from webhooks.publishing import reasons
from webhooks.publishing.confirms import Confirms
from webhooks.replay_queues import is_replay_queue, live_queue

T = TypeVar("T")

MESSAGE_VERSION = 1
"""The value of a message's `hookline` header. In this version the only argument is the job's id."""
REPLAY_HEADER = "hookline_replay"
"""The header of a message that tells of jobs in the replay queue of its queue. A release before this one ignores it."""
DELIVERY_LIMIT = 20
"""How often RabbitMQ delivers a message that comes back unacknowledged. Then it drops the message, and the relay
publishes another."""
DEPTH_SECONDS = 1.0
FULL_SECONDS = 0.25
"""How long a queue counts as full without being looked at: about as long as a worker's child waits for a job. After
that it may take the next message, so one has to be there."""
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

    def __init__(self, app: Celery, *, is_confirmed: bool = True) -> None:
        self._app = app
        self._is_confirmed = is_confirmed
        """Whether RabbitMQ confirms what is published."""
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
        options = {**(connection.transport_options or {}), **timeouts}
        if not self._is_confirmed:
            options.pop("confirm_publish", None)
        connection.transport_options = options
        return connection


@contextlib.contextmanager
def broker_errors() -> Iterator[None]:
    """If the broker does not answer or refuses, raise kombu's OperationalError: words to put after "the broker"."""
    try:
        yield
    except Exception as error:
        transport = current_app.connection_for_write().get_transport_cls()
        # OSError: the embedded broker is a folder, and its disk may be full.
        errors = (*transport.connection_errors, *transport.channel_errors, MessageNacked, BatchPublishError, OSError)
        if isinstance(error, errors):
            raise OperationalError(reasons.reason(error)) from error
        raise


class Broker:
    """One connection to the broker, for one thread.

    Raises kombu's OperationalError with the reason in words to put after "the broker", and is then closed. If it could
    not connect, that is a NotConnectedError.
    """

    def __init__(self) -> None:
        self._nodes = Nodes(current_app, is_confirmed=False)  # Not each message by itself: see `Confirms`.
        self._connection: Any = None
        self._producer: Any = None
        self._confirms: Confirms | None = None
        self._depths: dict[str, tuple[float, int]] = {}

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        return self._guarded(self._read_depth, queue)

    def room(self, queue: str) -> int:
        """Return how many more messages fit into the queue's window, by a depth at most 1 s old."""
        window: int = settings.HOOKLINE_QUEUE_WINDOW
        read_at, depth = self._depths.get(queue, (-DEPTH_SECONDS, 0))
        if time.monotonic() - read_at >= (DEPTH_SECONDS if depth < window else FULL_SECONDS):
            depth = self.depth(queue)
            self._depths[queue] = (time.monotonic(), depth)
        return max(0, window - depth)

    def publish(self, jobs: Sequence[JobToPublish]) -> None:
        """Put a message for each of these jobs on its queue; on RabbitMQ, return once all of them are confirmed.

        Of jobs in a replay queue, which the broker does not have, a message tells on the queue that it belongs to.
        """
        self._guarded(self._publish, jobs)
        for job in jobs:
            queue = live_queue(job.queue)
            read_at, depth = self._depths.get(queue, (-DEPTH_SECONDS, 0))
            self._depths[queue] = (read_at, depth + 1)

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
                channel: Any = self._connection.channel()
                self._producer = Producer(channel, auto_declare=False)
                self._confirms = Confirms(channel) if self._connection.transport.driver_type == "amqp" else None
        except OperationalError as error:
            raise NotConnectedError(*error.args) from error.__cause__

    def _read_depth(self, queue: str) -> int:
        # To declare an existing queue changes nothing, and answers with the depth, as a passive declare does.
        declared: Any = job_queue(queue)(self._producer.channel).queue_declare()
        return int(declared.message_count)

    def _publish(self, jobs: Sequence[JobToPublish]) -> None:
        with self._producer.batch():  # On Redis it sends all of them at once.
            for job in jobs:
                self._send(job)
        if self._confirms is not None:
            self._confirms.wait(seconds=timeout_seconds())

    def _send(self, job: JobToPublish) -> None:
        task = task_of(live_queue(job.queue)) if destination_of(job.handler) else job.handler
        message = current_app.amqp.as_task_v2(f"{job.id}-{uuid.uuid4()}", task, args=(job.id,), ignore_result=True)
        headers: dict[str, Any] = {"hookline": MESSAGE_VERSION}
        if is_replay_queue(job.queue):
            headers[REPLAY_HEADER] = True
        if self._confirms is not None:
            self._confirms.expect()
        self._producer.publish(
            message.body,
            exchange="",
            routing_key=live_queue(job.queue),
            serializer="json",
            headers={**message.headers, **headers},
            **message.properties,
        )
