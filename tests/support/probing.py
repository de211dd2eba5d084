"""Asking probes in tests, and a line to a service that can be cut and mended."""

import contextlib
import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import urllib3

from tests.support.processes import free_port

http = urllib3.PoolManager(maxsize=16, retries=False)


class Probed:
    """A process that answers probes, by its port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def status(self, path: str) -> int:
        """Return the status of a page; 0 if there is no answer."""
        try:
            return http.request("GET", f"http://127.0.0.1:{self.port}{path}", timeout=5).status
        except urllib3.exceptions.HTTPError:
            return 0

    def faults(self, path: str) -> list[str]:
        answer: dict[str, Any] = json.loads(self._read(path))
        return list(answer["faults"])

    def metric(self, sample: str) -> float | None:
        """Return the value of a sample, written as in Prometheus' text; None if it is not there."""
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self._read("/metrics"), re.MULTILINE)
        return float(found[1]) if found else None

    def is_live(self) -> bool:
        return self.status("/livez") == 200

    def is_ready(self) -> bool:
        return self.status("/readyz") == 200

    def _read(self, path: str) -> str:
        return http.request("GET", f"http://127.0.0.1:{self.port}{path}", timeout=5).data.decode()


class Line:
    """A local port that leads to a service until it is cut: then nobody listens, and what was open is closed."""

    def __init__(self, to: str) -> None:
        self._target = urlsplit(to)
        self._port = free_port()
        self._open: set[socket.socket] = set()
        self._server: socketserver.ThreadingTCPServer | None = None
        self.url = urlunsplit(self._target._replace(netloc=self._netloc()))

    def mend(self) -> None:
        line = self

        class Forward(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                line.forward(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", self._port), Forward)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def cut(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def forward(self, near: socket.socket) -> None:
        assert self._target.hostname
        assert self._target.port
        with socket.create_connection((self._target.hostname, self._target.port)) as far:
            self._open |= {near, far}
            back = threading.Thread(target=_copy, args=(far, near), daemon=True)
            back.start()
            _copy(near, far)
            back.join()
            self._open -= {near, far}

    def _netloc(self) -> str:
        user, at, _ = self._target.netloc.rpartition("@")
        return f"{user}{at}127.0.0.1:{self._port}"


@contextlib.contextmanager
def line(to: str) -> Iterator[Line]:
    """A line to the service at a URL, whole at first."""
    made = Line(to)
    made.mend()
    try:
        yield made
    finally:
        made.cut()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
