"""A service that comes and goes: a local port that reaches it for as long as the test wants."""

import contextlib
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

from tests.support.processes import free_port


class Line:
    """A local port that leads to a service until it is cut: then nobody listens, and what was open is closed.

    While it is hushed, it accepts connections and passes nothing on (where it is no TLS server).
    """

    def __init__(self, to: str, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """With `tls`, the port is a TLS server."""
        self._target = urlsplit(to)
        self._port = port or free_port()
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._server: socketserver.ThreadingTCPServer | None = None
        self._flows = threading.Event()
        user, at, _ = self._target.netloc.rpartition("@")
        self.url = urlunsplit(self._target._replace(netloc=f"{user}{at}127.0.0.1:{self._port}"))

    def hush(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        self._flows.set()
        if self._server is not None:
            return
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
        self._flows.set()

    def forward(self, near: socket.socket) -> None:
        assert self._target.hostname
        assert self._target.port
        with socket.create_connection((self._target.hostname, self._target.port)) as far:
            ends = {near, far}
            self._open |= ends
            if self._tls is None:
                back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
                back.start()
                self._copy(near, far)
                back.join()
            else:
                with contextlib.suppress(OSError), self._tls.wrap_socket(near, server_side=True) as decrypted:
                    _copy_both(decrypted, far)
            self._open -= ends

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def forwarding(to: str, *, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Line]:
    """A line to the service at a URL, whole at first, cut at the end."""
    line = Line(to, port=port, tls=tls)
    line.mend()
    try:
        yield line
    finally:
        line.cut()


def _copy_both(near: ssl.SSLSocket, far: socket.socket) -> None:
    """Copy both ways on one thread: OpenSSL allows no two on one connection."""
    while True:
        # What has been decrypted already makes no socket readable.
        readable = [near] if near.pending() else select.select([near, far], [], [])[0]
        for source in readable:
            data = source.recv(65536)
            if not data:
                return
            (far if source is near else near).sendall(data)
