"""Ends connections on which a request's headers arrive too slowly, for which Granian has no time limit of its own.

Granian has one limit for both slow headers and idle connections, counted from the last answer. It has to be long: a
proxy keeps idle connections for a minute and more, and does not repeat a POST. So once a second this module checks the
receiver's connections, with Linux's figures on them. It shuts down a connection on which bytes arrive but no request
becomes complete. If there are many connections, it also shuts down those that have never had a request: Granian takes
no more than MOST_CONNECTIONS, and probes need some of them. On other systems there is only Granian's limit.
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
CHECK_SECONDS = 1.0
HEADER_CHECKS = 10
"""Counted in checks, not in seconds: while the event loop is blocked, no request counts as late."""

_FDS = Path("/proc/self/fd")
_RECEIVED = struct.Struct("=128xQ")
"""tcpi_bytes_received in struct tcp_info, of linux/tcp.h."""

Address = tuple[str, str]


class Connections:
    """The connections to a port of this process. Each is known by the client's address."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._busy: Counter[Address] = Counter()
        self._answered: set[Address] = set()
        self._heads: dict[Address, tuple[int, int]] = {}
        """For each connection that waits for a request: its bytes at the first check, and at how many it was late."""

    @contextmanager
    def busy(self, client: str) -> Iterator[None]:
        """Do not shut down a client's connection while its request is served. `client` is `ip:port`."""
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
        """Check once a second while the loop runs."""
        loop.call_later(CHECK_SECONDS, self.watch, loop)  # First, since a check may fail for lack of a descriptor.
        self._check()

    def _check(self) -> None:
        heads, are_many = {}, len(self._heads) > MANY
        for connection in self._open():
            with connection, contextlib.suppress(OSError):  # It may end during the check.
                address = _address(*map(str, connection.getpeername()[:2]))
                if address in self._busy:
                    continue
                received = _RECEIVED.unpack_from(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192))[0]
                first, late_checks = self._heads.get(address, (received, 0))
                is_late = received > first or (are_many and address not in self._answered)
                heads[address] = first, late_checks + is_late
                if heads[address][1] >= HEADER_CHECKS:
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
