"""Stands between Granian and Django: reads each body whole, off the threads, before a thread gets the request.

WSGI would read the body on the thread that serves the request, so that as many stalled senders as there are threads
would stop everybody. Here a stalled body costs a coroutine and is given up after its time; docs/decisions/0002 has the
measurement. Each kind of page has threads of its own, so that slow admin pages hold neither deliveries nor probes.
"""

import asyncio
import contextlib
import functools
import io
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from celery import platforms
from granian._granian import RSGIHTTPProtocol as HTTPProtocol
from granian._granian import RSGIProtocolClosed as ProtocolClosed
from granian.rsgi import Scope

from webhooks import lifecycle
from webhooks.byte_budget import ByteBudget
from webhooks.intake import Answer, Rules, refusal, refuse_unread
from webhooks.middleware import PROBES, WEBHOOKS

DRAIN_SIGNAL = signal.SIGUSR2
"""Sent by the launcher: serve on, say "not ready", and close connections with their next answer."""
LARGEST_PAGE_BODY = 5 * 1024 * 1024
"""What a form of the admin may hold."""
LARGE_BODY = 1024 * 1024
LARGE_BODIES_AT_ONCE = 8
"""How many bodies are held at a time of which more than LARGE_BODY has arrived; the next ones wait for their turn."""
LARGE_BYTES_AT_WORK = 32 * 1024 * 1024
"""How much of them threads work on at a time: parsing and storing a body takes several times its size."""
STALL_SECONDS = 2.0
"""How long a body that holds a turn may go without sending anything."""

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Response = tuple[int, list[tuple[str, str]], bytes]


class Front:
    """An RSGI application that serves a WSGI one."""

    def __init__(self, wsgi: Wsgi, *, rules: Callable[[], Rules], threads: int, body_seconds: float) -> None:
        self._wsgi = wsgi
        self._rules = rules
        self._threads = threads
        self._body_seconds = body_seconds

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        platforms.set_pdeathsig("SIGKILL")  # type: ignore[attr-defined]  # A receiver whose launcher was killed must not go on holding the port.
        loop.add_signal_handler(DRAIN_SIGNAL, lifecycle.stopping.set)
        self._large = asyncio.Semaphore(LARGE_BODIES_AT_ONCE)
        self._at_work = ByteBudget(LARGE_BYTES_AT_WORK)
        self._deliveries = ThreadPoolExecutor(self._threads, thread_name_prefix="deliveries")
        self._probes = ThreadPoolExecutor(2, thread_name_prefix="probes")
        self._pages = ThreadPoolExecutor(4, thread_name_prefix="pages")

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        for lane in (self._deliveries, self._probes, self._pages):
            lane.shutdown(wait=True)

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        try:
            status, headers, body = await self._respond(scope, proto)
        except (ProtocolClosed, StopAsyncIteration):
            return  # The client is gone, be it in the middle of a large body; there is nobody to answer.
        if lifecycle.stopping.is_set():
            headers = [*headers, ("connection", "close")]
        proto.response_bytes(status, headers, body)

    async def _respond(self, scope: Scope, proto: HTTPProtocol) -> Response:
        headers = _Headers(scope.headers.items())
        refused = self._refuse(scope, headers)
        if refused is not None:
            return _encoded(refused)
        length = int(headers.get("Content-Length", "0"))
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._body_seconds):
                    body = await self._read(proto, length, held)
            except TimeoutError:
                return _encoded(refusal(408, f"The body did not arrive within {self._body_seconds:g} s."))
            if length > LARGE_BODY:
                # However long it takes: a delivery that is stored after GitHub has hung up is stored all the same.
                await held.enter_async_context(self._at_work.held(length))
            return await self._serve(scope, headers, body)

    async def _read(self, proto: HTTPProtocol, length: int, held: contextlib.AsyncExitStack) -> bytes:
        """Return the whole body. A large one takes a turn, for as long as `held`, once a part of it is here."""
        if length <= LARGE_BODY:
            return await proto() if length else b""
        body = bytearray()
        chunks = aiter(proto)
        while len(body) <= LARGE_BODY:
            body += await anext(chunks)
        await held.enter_async_context(self._large)
        while len(body) < length:
            async with asyncio.timeout(STALL_SECONDS):
                body += await anext(chunks)
        return bytes(body)

    def _refuse(self, scope: Scope, headers: "_Headers") -> Answer | None:
        if scope.path.startswith(WEBHOOKS):
            return refuse_unread(scope.method, scope.path.removeprefix(WEBHOOKS), headers, self._rules())
        length = headers.get("Content-Length", "0")
        if "Transfer-Encoding" in headers or not (length.isascii() and length.isdigit()):
            return refusal(411, "A Content-Length header is required.")
        if int(length[:20]) > LARGEST_PAGE_BODY:
            return refusal(413, f"The body is over the limit of {LARGEST_PAGE_BODY:,} bytes.")
        return None

    async def _serve(self, scope: Scope, headers: "_Headers", body: bytes) -> Response:
        lane = self._pages
        if scope.path.startswith(WEBHOOKS):
            lane = self._deliveries
        elif scope.path in PROBES:
            lane = self._probes
        call = functools.partial(call_wsgi, self._wsgi, environ_of(scope, headers, body))
        return await asyncio.get_running_loop().run_in_executor(lane, call)


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
        if "_" in name:  # x_github_event would pass for X-GitHub-Event.
            continue
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"] = value
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
