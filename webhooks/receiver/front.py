"""Reads each request's body whole, in a coroutine. A webhook then goes to `deliveries.py`, past Django's request; every
other request goes to Django, on a thread.

With WSGI alone, the thread that serves a request would also read its body: with as many stalled senders as threads, no
other request would be served. Here a stalled body costs only a coroutine, and is refused after its time;
docs/decisions/0002-bodies-are-read-in-front-of-the-threads.md has the measurements. Each kind of page has threads of
its own, so that slow pages of the admin delay neither deliveries nor probes.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import orjson
from granian._granian import RSGIHTTPProtocol as HTTPProtocol
from granian._granian import RSGIProtocolClosed as ProtocolClosed
from granian.rsgi import Scope

from webhooks.inbox import encoded_secret
from webhooks.parent import signal_at_parents_end
from webhooks.paths import PROBES, WEBHOOKS
from webhooks.receiver import measures, readiness
from webhooks.receiver.answer_counts import AnswerCounts
from webhooks.receiver.body_length import announced_body
from webhooks.receiver.body_reader import HELD_BYTES, read_body
from webhooks.receiver.byte_budget import ByteBudget
from webhooks.receiver.connections import Connections
from webhooks.receiver.deliveries import Deliveries
from webhooks.receiver.intake import Rules, check_head
from webhooks.receiver.middleware import machine_path
from webhooks.receiver.replies import RefusedError, Reply
from webhooks.receiver.wsgi import Response, Wsgi, call_wsgi, environ_of
from webhooks.traces.context import HEADER
from webhooks.traces.spans import spans

DRAIN_SIGNAL = signal.SIGUSR2
"""Sent by the launcher: go on serving, report "not ready", and close connections with their next answer."""
LARGEST_PAGE_BODY = 5 * 1024 * 1024
"""The limit for a form of the admin."""


class Beside(Protocol):
    """Work on a thread of its own, beside the requests."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Front:
    """An RSGI application that serves a WSGI one."""

    def __init__(
        self,
        wsgi: Wsgi,
        *,
        rules: Callable[[], Rules],
        deliveries: Callable[[asyncio.AbstractEventLoop], Deliveries],
        body_seconds: float,
        connections: Connections,
        answers: AnswerCounts | None = None,
        beside: Sequence[Beside] = (),
        started: Callable[[], None] = lambda: None,
    ) -> None:
        """`started` is called once, in the process that serves; `beside` works from then until the process stops."""
        self._wsgi = wsgi
        self._rules = rules
        self._make_deliveries = deliveries
        self._body_seconds = body_seconds
        self._connections = connections
        self._started = started
        self._answers = answers
        self._beside = beside

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # A receiver whose launcher was killed must not keep the port.
        signal_at_parents_end(signal.SIGKILL)
        loop.add_signal_handler(DRAIN_SIGNAL, readiness.stopping.set)
        self._connections.watch(loop)
        if self._answers is not None:
            self._answers.start()
        for each in self._beside:
            each.start()
        self._held = ByteBudget(HELD_BYTES)
        self._deliveries = self._make_deliveries(loop)
        self._probes = ThreadPoolExecutor(2, thread_name_prefix="probes")
        self._pages = ThreadPoolExecutor(4, thread_name_prefix="pages")
        self._started()

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        self._deliveries.close()
        for lane in (self._probes, self._pages):
            lane.shutdown(wait=True)
        if self._answers is not None:
            self._answers.stop()
        for each in self._beside:
            each.stop()
        spans().end()

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        try:
            with self._connections.busy(scope.client):
                status, headers, body = await self._respond(scope, proto)
        except RefusedError as refused:
            status, headers, body = _encoded(refused.reply)
        except ProtocolClosed:
            return  # The client has closed the connection: nobody to answer.
        if readiness.stopping.is_set():
            headers = [*headers, ("connection", "close")]
        proto.response_bytes(status, headers, body)

    async def _respond(self, scope: Scope, proto: HTTPProtocol) -> Response:
        headers = _Headers(scope.headers.items())
        path = machine_path(scope.path)
        if path.startswith(WEBHOOKS):
            return _encoded(await self._measured(scope, path.removeprefix(WEBHOOKS), headers, proto))
        announced = announced_body(headers, limit=LARGEST_PAGE_BODY)
        async with self._held.share() as held:
            body = await read_body(aiter(proto), announced, seconds=self._body_seconds, held=held)
            lane = self._probes if path in PROBES else self._pages
            environ = environ_of(scope, headers, body)
            return await asyncio.get_running_loop().run_in_executor(lane, call_wsgi, self._wsgi, environ)

    async def _measured(self, scope: Scope, source: str, headers: "_Headers", proto: HTTPProtocol) -> Reply:
        """Return the reply to a webhook, and count it."""
        began, status = time.monotonic(), measures.HUNG_UP
        try:
            reply = await self._traced(scope, source, headers, proto)
            status = reply.status
        finally:
            seconds = time.monotonic() - began
            result = measures.count(headers.get("X-GitHub-Event", ""), status, seconds=seconds)
            if self._answers is not None:
                self._answers.note(result, seconds)
        return reply

    async def _traced(self, scope: Scope, source: str, headers: "_Headers", proto: HTTPProtocol) -> Reply:
        """Take in a delivery, in a span where spans are written."""
        with spans().receiving(scope.method, headers.get(HEADER)) as receipt:
            if receipt.traceparent:
                headers = headers.having(HEADER, receipt.traceparent)
            try:
                reply = await self._receive(scope, source, headers, proto)
            except RefusedError as refused:
                reply = refused.reply
            receipt.answered(reply.status, reply.body)
            return reply

    async def _receive(self, scope: Scope, source: str, headers: "_Headers", proto: HTTPProtocol) -> Reply:
        announced = check_head(scope.method, source, headers, self._rules(), peer=scope.client.rpartition(":")[0])
        async with self._held.share() as held:
            body = await read_body(aiter(proto), announced, seconds=self._body_seconds, held=held)
            return await self._deliveries.reply(source, headers, body)


_WITH_SECRET = encoded_secret.HEADER.lower()


class _Headers(Mapping[str, str]):
    """Request headers by name in any case. A name that came twice has both values, which no rule here accepts."""

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in items:
            key = name.lower()
            self._values[key] = f"{self._values[key]},{value}" if key in self._values else value
        if _WITH_SECRET in self._values:
            self._values[_WITH_SECRET] = encoded_secret.SCRUBBED

    def having(self, name: str, value: str) -> "_Headers":
        """Return these headers with another value of one."""
        return _Headers({**self._values, name: value}.items())

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _encoded(reply: Reply) -> Response:
    body = orjson.dumps(dict(reply.body))
    headers = [("content-type", "application/json"), *((name.lower(), value) for name, value in reply.headers.items())]
    return reply.status, headers, body
