"""How the dispatcher and the children speak: a pair of sockets for each place in the pool, and one for the parent.

Datagrams of a pair of local sockets keep their order and their bounds, and none is lost:
https://man7.org/linux/man-pages/man7/unix.7.html. The parent makes the pairs before it forks, and keeps both ends: a
process that is replaced inherits the same pair, with what nobody has read yet. So a child that finds no dispatcher
waits for the next one, and whoever reads a job first has it alone: the child, or the dispatcher that takes it back.
"""

import socket
from contextlib import suppress
from typing import Any

from msgspec.msgpack import Decoder, Encoder

from workers.runs.messages import Message

LARGEST_MESSAGE = 256 * 1024
"""A small body with its job, or an outcome with its traceback."""
_BUFFER_BYTES = 2 * LARGEST_MESSAGE


class Pair:
    """The two ends between the dispatcher and one child."""

    def __init__(self) -> None:
        self.dispatcher, self.child = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.dispatcher, self.child):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)

    def close(self) -> None:
        self.dispatcher.close()
        self.child.close()


def send(end: socket.socket, message: Message) -> None:
    """Send one message, which the other side reads whole; wait while it has many to read."""
    end.send(_encoder.encode(message))


def receive(end: socket.socket) -> Any:
    """Wait for the next message."""
    return _loaded(end.recv_into(_buffer))


def take(end: socket.socket) -> Any:
    """Return the next message if there is one, or None."""
    with suppress(BlockingIOError):
        return _loaded(end.recv_into(_buffer, 0, socket.MSG_DONTWAIT))
    return None


_buffer = memoryview(bytearray(LARGEST_MESSAGE))
"""Made once: to make one of this size for each message would cost more than all the rest of it. Of a thread alone."""


_encoder, _decoder = Encoder(), Decoder(Message)


def _loaded(size: int) -> Any:
    return _decoder.decode(_buffer[:size])
