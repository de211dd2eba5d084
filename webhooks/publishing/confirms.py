"""RabbitMQ's confirms of a group of messages: all of them are sent, and only then waited for.

py-amqp's own way is to wait for the confirm of each message before it sends the next.
"""

import time
from typing import Any

from amqp.exceptions import MessageNacked


class Confirms:
    """The confirms of one channel, whose every message is announced by `expect`."""

    def __init__(self, channel: Any) -> None:
        self._connection = channel.connection
        self._count = 0
        self._open: set[int] = set()
        """The messages that are not confirmed yet, by their number on this channel, from 1."""
        channel.events["basic_ack"].add(self._confirmed)
        channel.events["basic_nack"].add(self._refused)
        channel.confirm_select()

    def expect(self) -> None:
        """Note that a message is sent now."""
        self._count += 1
        self._open.add(self._count)

    def wait(self, *, seconds: float) -> None:
        """Wait until every message is confirmed. Raises MessageNacked, or TimeoutError."""
        ends_at = time.monotonic() + seconds
        while self._open:
            self._connection.drain_events(timeout=max(0.001, ends_at - time.monotonic()))

    def _confirmed(self, number: int, up_to_it: bool) -> None:
        self._open -= {one for one in self._open if one <= number} if up_to_it else {number}

    def _refused(self, *_message: Any) -> None:
        raise MessageNacked
