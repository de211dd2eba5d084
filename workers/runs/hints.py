"""A message while children wait for jobs: the parent asks the dispatcher, which may take it.

A message begins the turn of a free child, and costs the parent a few milliseconds. But it says only that there is work,
and most of the time a child in its turn waits for that. So the parent asks the dispatcher about each message: it takes
it, and looks for a job at once, or leaves it to the pool. If no answer comes, the message goes to the pool.

Only where Celery has an event loop, which the embedded broker has not: there each message goes to the pool.
"""

import itertools
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from webhooks.publishing.broker import MESSAGE_VERSION, REPLAY_HEADER
from webhooks.replay_queues import replay_queue
from webhooks.threads import place_of
from workers.runs import channels
from workers.runs.messages import Answered, Heard
from workers.stopping.flag import is_stopping

LONGEST_SECONDS = 0.5
"""How long the dispatcher may take to answer."""

Begin = Callable[[], Any]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Message:
    """A message that the dispatcher was asked about."""

    asked_at: float
    begin: Begin
    """Give it to the pool, where it begins a turn."""
    acknowledge: Callable[[], Any]
    drop: Callable[[], Any]


class Hints:
    """The messages that the dispatcher was asked about and has not answered. Of the parent's main thread."""

    def __init__(self) -> None:
        self._end: socket.socket | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Message] = {}

    def open(self, end: socket.socket) -> None:
        """Ask from now on, over this end. Whoever calls this also calls `hear_answer` and `give_up_waiting`."""
        self._end = end

    def strategy(self, queue: str, *, begin: Any, errors: Any) -> Any:
        """Return what Celery is to do with a message of this queue, in front of Celery's own way, which is `begin`.

        `errors` are what the connection may raise as the message is acknowledged, and no fault.
        """

        def hear(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
            heard = _Message(
                asked_at=time.monotonic(),
                begin=partial(begin, message, body, ack, reject, callbacks),
                acknowledge=partial(ack, logger, errors),
                drop=partial(reject, logger, errors, False),
            )
            is_known = message.headers.get("hookline", MESSAGE_VERSION) == MESSAGE_VERSION
            if self._end and is_known and not is_stopping():
                self._ask(self._end, replay_queue(queue) if message.headers.get(REPLAY_HEADER) else queue, heard)
            else:
                heard.begin()

        return hear

    def _ask(self, end: socket.socket, queue: str, message: _Message) -> None:
        number = next(self._numbers)
        try:
            channels.send(end, Heard(number, queue))
        except OSError:  # A dispatcher that stands still leaves no room.
            message.begin()
        else:
            self._asked[number] = message

    def hear_answer(self, answer: Answered) -> None:
        message = self._asked.pop(answer.number, None)
        if message is None:
            return
        if answer.is_taken:
            message.acknowledge()
        else:
            self._begin(message)

    def give_up_waiting(self) -> None:
        """Give the messages to the pool that the dispatcher does not answer."""
        late = time.monotonic() - LONGEST_SECONDS
        for number in [number for number, message in self._asked.items() if message.asked_at <= late]:
            self._begin(self._asked.pop(number))

    def forget(self) -> None:
        """Forget the messages of a connection that is lost, or at a stop: the broker gives them to another worker."""
        self._asked.clear()

    @staticmethod
    def _begin(message: _Message) -> None:
        try:
            message.begin()
        except Exception as error:  # Of a malformed message. Celery's own handler for that is no longer around it.
            logger.error("message refused", extra={"error": place_of(error)})
            message.drop()


hints = Hints()
