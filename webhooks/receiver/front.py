"""Stands between Granian and Django: reads each body whole, off the threads, before a thread gets the request.

WSGI would read the body on the thread that serves the request, so that as many stalled senders as there are threads
would stop everybody. Here a stalled body costs a coroutine and is given up after its time; docs/decisions/0002 has the
measurement. Each kind of page has threads of its own, so that slow admin pages hold neither deliveries nor probes.
"""

import asyncio
import functools
import io
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from granian._granian import RSGIHTTPProtocol as HTTPProtocol
from granian._granian import RSGIProtocolClosed as ProtocolClosed
from granian.rsgi import Scope

from webhooks.parent import signal_at_parents_end
from webhooks.receiver import readiness
from webhooks.receiver.body_length import announced_length
from webhooks.receiver.body_reader import HELD_BYTES, BodyError, read_body
from webhooks.receiver.byte_budget import ByteBudget, Share
from webhooks.receiver.connections import Connections
from webhooks.receiver.intake import Answer, Rules, body_limit, refusal, refuse_length, refuse_unread
from webhooks.receiver.middleware import PROBES, WEBHOOKS, machine_path

DRAIN_SIGNAL = signal.SIGUSR2
"""Sent by the launcher: serve on, say "not ready", and close connections with their next answer."""
LARGEST_PAGE_BODY = 5 * 1024 * 1024
"""What a form of the admin may hold."""
LARGE_BODY = 1024 * 1024
LARGE_BYTES_AT_WORK = 32 * 1024 * 1024
"""How much of larger bodies threads work on at a time: parsing and storing a body takes several times its size."""

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Response = tuple[int, list[tuple[str, str]], bytes]


class Front:
    """An RSGI application that serves a WSGI one."""

    def __init__(
        self, wsgi: Wsgi, *, rules: Callable[[], Rules], threads: int, body_seconds: float, connections: Connections
    ) -> None:
        self._wsgi = wsgi
        self._rules = rules
        self._threads = threads
        self._body_seconds = body_seconds
        self._connections = connections

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        signal_at_parents_end(signal.SIGKILL)  # A receiver whose launcher was killed must not go on holding the port.
        loop.add_signal_handler(DRAIN_SIGNAL, readiness.stopping.set)
        self._connections.watch(loop)
        self._held = ByteBudget(HELD_BYTES)
        self._at_work = ByteBudget(LARGE_BYTES_AT_WORK)
        self._deliveries = ThreadPoolExecutor(self._threads, thread_name_prefix="deliveries")
        self._probes = ThreadPoolExecutor(2, thread_name_prefix="probes")
        self._pages = ThreadPoolExecutor(4, thread_name_prefix="pages")

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        for lane in (self._deliveries, self._probes, self._pages):
            lane.shutdown(wait=True)

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        try:
            with self._connections.busy(scope.client):
                status, headers, body = await self._respond(scope, proto)
        except ProtocolClosed:
            return  # The client is gone; there is nobody to answer.
        if readiness.stopping.is_set():
            headers = [*headers, ("connection", "close")]
        proto.response_bytes(status, headers, body)

    async def _respond(self, scope: Scope, proto: HTTPProtocol) -> Response:
        headers = _Headers(scope.headers.items())
        path = machine_path(scope.path)
        refused = self._refuse(scope.method, path, headers)
        if refused is not None:
            return _encoded(refused)
        async with self._held.share() as held, self._at_work.share() as work:
            try:
                body = await self._read(proto, path, headers, held)
            except BodyError as error:
                return _encoded(refusal(error.status, str(error)))
            if len(body) > LARGE_BODY:
                # However long it takes: a delivery that is stored after GitHub has hung up is stored all the same.
                await work.take(len(body))
            call = functools.partial(call_wsgi, self._wsgi, environ_of(scope, headers, body))
            return await asyncio.get_running_loop().run_in_executor(self._lane(path), call)

    def _refuse(self, method: str, path: str, headers: "_Headers") -> Answer | None:
        if path.startswith(WEBHOOKS):
            return refuse_unread(method, path.removeprefix(WEBHOOKS), headers, self._rules())
        return refuse_length(headers, LARGEST_PAGE_BODY)

    async def _read(self, proto: HTTPProtocol, path: str, headers: "_Headers", held: Share) -> bytes:
        length = announced_length(headers)
        if length == 0:
            return b""
        limit = body_limit(headers, self._rules()) if path.startswith(WEBHOOKS) else LARGEST_PAGE_BODY
        return await read_body(aiter(proto), length=length, limit=limit, seconds=self._body_seconds, held=held)

    def _lane(self, path: str) -> ThreadPoolExecutor:
        if path.startswith(WEBHOOKS):
            return self._deliveries
        return self._probes if path in PROBES else self._pages


class _Headers(Mapping[str, str]):
    """Request headers by name in any case. A name that came twice holds both values, which no rule of ours accepts."""

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in items:
            key = name.lower()
            self._values[key] = f"{self._values[key]},{value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def environ_of(scope: Scope, headers: Mapping[str, str], body: bytes) -> Environ:
    """Return PEP 3333's environ for a request whose body is here."""
    host, _, port = scope.server.rpartition(":")
    environ: Environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers.items():
        # x_github_event would pass for X-GitHub-Event; and the body is no longer chunked.
        if "_" in name or name == "transfer-encoding":
            continue
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"] = value
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def call_wsgi(wsgi: Wsgi, environ: Environ) -> Response:
    """Run a WSGI application to its end and return its whole response."""
    started: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[[bytes], None]:
        started[:] = [int(status[:3]), [(name.lower(), value) for name, value in headers]]
        return written.append

    chunks = wsgi(environ, start_response)
    try:
        written.extend(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()
    status, headers = started
    return status, headers, b"".join(written)


def _encoded(answer: Answer) -> Response:
    body = orjson.dumps(dict(answer.body))
    headers = [("content-type", "application/json"), *((name.lower(), value) for name, value in answer.headers.items())]
    return answer.status, headers, body
