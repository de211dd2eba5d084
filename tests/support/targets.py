"""A target for what is forwarded: a local server that keeps what it gets, and answers as it is told."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Got:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    """With names in small letters."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Says:
    """An answer. Its body is sent in pieces, with a pause before each."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    closes: bool = False
    """Close the connection instead."""
    waits_seconds: float = 0.0
    """Before the status."""
    drips_seconds: float = 0.0
    """Before each byte of the head and the body."""


class Target:
    """`answer` may be replaced at any time; it gets the number of the request, from 1, and the request."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answer: Callable[[int, Got], Says] = lambda _number, _got: Says()
        self._lock = threading.Lock()
        self.leaving = threading.Event()
        target = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with target._lock:
                    got = Got(self.path, headers, body)
                    target.got.append(got)
                    says = target.answer(len(target.got), got)
                with contextlib.suppress(OSError):
                    target._say(self, says)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def _say(self, handler: BaseHTTPRequestHandler, says: Says) -> None:
        self.leaving.wait(says.waits_seconds)
        handler.close_connection = says.closes or bool(says.drips_seconds)
        if says.closes:
            return
        head = [f"HTTP/1.1 {says.status} Told", f"Content-Length: {len(says.body)}"]
        head += [f"{name}: {value}" for name, value in says.headers.items()]
        whole = "\r\n".join([*head, "", ""]).encode() + says.body
        if not says.drips_seconds:
            handler.wfile.write(whole)
            return
        for byte in whole:
            if self.leaving.wait(says.drips_seconds):
                return
            handler.wfile.write(bytes([byte]))

    def close(self) -> None:
        self.leaving.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def target() -> Iterator[Target]:
    one = Target()
    try:
        yield one
    finally:
        one.close()
