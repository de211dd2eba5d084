"""Ends a connection on which a request trickles in and never gets whole, which Granian can time only as an idle one.

Granian has one limit for both, counted from the last answer. It has to be long: a proxy keeps its idle connections for
a minute and more, and does not repeat a POST. So this looks at the receiver's connections once a second, by what Linux
tells of them, and shuts down one on which bytes keep coming without a request. Once they are many, it also shuts down
those that have never had a request: Granian takes no more than MOST_CONNECTIONS, and probes come over them too. Where
there is no Linux, that one limit is all there is.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_CONNECTIONS = 1000
"""How many connections Granian takes at a time; the next ones wait until one has ended."""
MANY = MOST_CONNECTIONS // 2
LOOK_SECONDS = 1.0
HEADER_LOOKS = 10
"""Looks and not seconds: where the loop is held up, requests that it has yet to see do not count as late."""

_FDS = Path("/proc/self/fd")
_RECEIVED = struct.Struct("=128xQ")
"""tcpi_bytes_received in struct tcp_info, of linux/tcp.h."""

Address = tuple[str, str]


class Connections:
    """The connections to a port of this process, known by the address of their other end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._busy: Counter[Address] = Counter()
        self._answered: set[Address] = set()
        self._heads: dict[Address, tuple[int, int]] = {}
        """Of each that waits for a request: its bytes at the first look, and at how many looks it was late with it."""

    @contextmanager
    def busy(self, client: str) -> Iterator[None]:
        """Let a client's connection alone while a request of it is served. `client` is `ip:port`."""
        host, _, port = client.rpartition(":")
        address = _address(host.strip("[]"), port)
        self._busy[address] += 1
        self._heads.pop(address, None)
        try:
            yield
        finally:
            self._answered.add(address)
            self._busy[address] -= 1
            if not self._busy[address]:
                del self._busy[address]

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look, and look again for as long as the loop runs."""
        loop.call_later(LOOK_SECONDS, self.watch, loop)  # First: a look may fail, for want of a descriptor, say.
        self._look()

    def _look(self) -> None:
        heads, are_many = {}, len(self._heads) > MANY
        for connection in self._open():
            with connection, contextlib.suppress(OSError):  # It may end while it is looked at.
                address = _address(*map(str, connection.getpeername()[:2]))
                if address in self._busy:
                    continue
                received = _RECEIVED.unpack_from(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192))[0]
                first, looks = self._heads.get(address, (received, 0))
                is_late = received > first or (are_many and address not in self._answered)
                heads[address] = first, looks + is_late
                if heads[address][1] >= HEADER_LOOKS:
                    connection.shutdown(socket.SHUT_RDWR)
        self._heads = heads
        self._answered &= heads.keys() | self._busy.keys()

    def _open(self) -> Iterator[socket.socket]:
        for entry in _FDS.iterdir() if _FDS.is_dir() else ():
            with contextlib.suppress(OSError):
                if not str(entry.readlink()).startswith("socket:"):
                    continue
                connection = socket.socket(fileno=os.dup(int(entry.name)))
                if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getsockname()[1] == self._port:
                    yield connection
                else:
                    connection.close()


def _address(host: str, port: str) -> Address:
    return host.partition("%")[0], port
