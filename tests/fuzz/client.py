"""Sends inputs to the receiver as they are: plain ones in rows on a kept connection, odd ones each on its own."""

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.fuzz.inputs import Input
from tests.fuzz.verdict import Verdict

PATIENCE_SECONDS = 5.0
GLANCE_SECONDS = 0.005
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: tens of thousands of closed connections would else use up the ports."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An input and its verdict."""

    input: Input
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, or 0 where the connection ended without one. `seconds` is infinite where neither came in time."""

    status: int
    body: bytes
    seconds: float
    tries: int = 1

    @property
    def tells_of_delivery(self) -> bool:
        return self.status == 202 or (self.status == 200 and b'"delivery"' in self.body)


class Wire:
    """One connection. Raises OSError where the receiver has reset it, TimeoutError where it keeps silent."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def reply(self, *, method: bytes, patience_seconds: float = PATIENCE_SECONDS) -> tuple[int, bytes] | None:
        """Read one final response; None where the connection ends instead. Raises ValueError for what is no HTTP."""
        self._socket.settimeout(patience_seconds)
        while True:
            while b"\r\n\r\n" not in self._buffer:
                if not self._receive():
                    return None
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if not re.match(rb"HTTP/1\.[01] [1-9]\d\d ", head):
                raise ValueError(f"not HTTP: {head[:100]!r}")
            status = int(head[9:12])
            if status >= 200:
                return status, self._body(head, has_body=method != b"HEAD" and status not in (204, 304))

    def _body(self, head: bytes, *, has_body: bool) -> bytes:
        length = _LENGTH.search(head)
        wanted = int(length[1]) if length and has_body else 0
        while len(self._buffer) < wanted:
            if not self._receive():
                raise ValueError("an answer that is cut off")
        body, self._buffer = self._buffer[:wanted], self._buffer[wanted:]
        return body

    def _receive(self) -> bool:
        received = self._socket.recv(65536)
        self._buffer += received
        return bool(received)

    def close(self) -> None:
        self._socket.close()


def ask_alone(port: int, judged: Judged) -> Answer:
    """Send an input on a connection of its own; where something is missing of it, only glance at what comes back."""
    started = time.monotonic()
    patience = PATIENCE_SECONDS if judged.verdict.is_whole else GLANCE_SECONDS
    with contextlib.closing(Wire(port)) as wire:
        try:
            # The receiver may have answered and closed before it has read everything.
            with contextlib.suppress(ConnectionError):
                wire.send(judged.input.data)
            reply = wire.reply(method=judged.verdict.method, patience_seconds=patience)
        except TimeoutError:
            return Answer(0, b"", float("inf") if judged.verdict.is_whole else 0.0)
        except ConnectionError:
            reply = None
    status, body = reply or (0, b"")
    return Answer(status, body, time.monotonic() - started)


def ask_in_row(port: int, row: Sequence[Judged]) -> Iterator[tuple[Judged, Answer]]:
    """Send plain inputs one behind the other and yield the answer to each, asking the rest anew after an end."""
    waiting = list(row)
    while waiting:
        answers = _answers(port, tuple(waiting))
        # Whatever ended the connection must not happen to the next one alone.
        first = next(answers, None) or ask_alone(port, waiting[0])
        yield waiting.pop(0), first
        for answer in answers:
            yield waiting.pop(0), answer


def _answers(port: int, row: Sequence[Judged]) -> Iterator[Answer]:
    """Yield the answers to the first of a row, as many as come."""
    with contextlib.closing(Wire(port)) as wire, contextlib.suppress(OSError):
        wire.send(b"".join(judged.input.data for judged in row))
        for judged in row:
            started = time.monotonic()
            reply = wire.reply(method=judged.verdict.method)
            if reply is None:
                return
            yield Answer(*reply, time.monotonic() - started)
