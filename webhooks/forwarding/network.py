"""Connections to destinations: each host is resolved once, what is found is checked, and just that is connected to.

So a name that leads elsewhere the next time it is asked for (DNS rebinding) gains nothing. TLS still verifies the name
of the URL. A proxy that the environment names is not used: it would resolve the name itself.
"""

import socket
import time
import typing
from collections.abc import Iterable
from ssl import SSLContext

import httpcore
import httpx
from httpcore import SOCKET_OPTION, NetworkBackend, NetworkStream, SyncBackend

from webhooks.forwarding.addresses import is_allowed

KEPT_CONNECTIONS = 10
KEPT_SECONDS = 10.0


class AddressRefusedError(Exception):
    """The host has an address that this destination may not have. The message does not show which."""


class Deadline:
    """Until when the request that is under way may take. A process sends one at a time."""

    def __init__(self) -> None:
        self._at = 0.0

    def begin(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        return self._at - time.monotonic()

    def bounded(self, seconds: float | None, error: type[Exception]) -> float:
        """Return how long one step may take, or raise the error if there is no time left."""
        left = self.seconds_left
        if left <= 0:
            raise error("The time limit has passed.")
        return left if seconds is None else min(seconds, left)


class GuardedBackend(NetworkBackend):
    """Opens connections to allowed addresses only, and keeps the deadline in each step."""

    def __init__(self, deadline: Deadline, *, allow_private: bool) -> None:
        self._deadline, self._allow_private = deadline, allow_private
        self._backend = SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        failure: Exception = httpcore.ConnectError("The host has no address.")
        for address in addresses_of(host, port, allow_private=self._allow_private):
            seconds = self._deadline.bounded(timeout, httpcore.ConnectTimeout)
            try:
                stream = self._backend.connect_tcp(address, port, seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _BoundedStream(stream, self._deadline)
        raise failure


def addresses_of(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Resolve a host. Raises AddressRefusedError if any of its addresses is not allowed, and so takes none of them."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise httpcore.ConnectError("The host's name is not known.") from None
    addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
    if not all(is_allowed(address, allow_private=allow_private) for address in addresses):
        raise AddressRefusedError
    return addresses


class _BoundedStream(NetworkStream):
    """A connection of which no step lasts beyond the deadline, however little arrives at a time."""

    def __init__(self, stream: NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.bounded(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.bounded(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        seconds = self._deadline.bounded(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, seconds), self._deadline)

    def get_extra_info(self, info: str) -> typing.Any:
        return self._stream.get_extra_info(info)


class GuardedTransport(httpx.BaseTransport):
    """What an httpx client sends with. It knows no proxy, and raises httpcore's errors as they are."""

    def __init__(self, deadline: Deadline, *, allow_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_keepalive_connections=KEPT_CONNECTIONS,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=GuardedBackend(deadline, allow_private=allow_private),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        assert isinstance(answer.stream, typing.Iterable)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Answer(answer.stream, answer.close),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Answer(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes], close: typing.Callable[[], None]) -> None:
        self._stream, self._close = stream, close

    def __iter__(self) -> typing.Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        self._close()
