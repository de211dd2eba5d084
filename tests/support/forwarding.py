"""A service that comes and goes: a local port that reaches it for as long as the test wants."""

import contextlib
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


@contextlib.contextmanager
def forwarding(port: int, *, to: str, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    """Forward 127.0.0.1:port to the host and port of the URL `to`, within the block; with `tls`, be the TLS server."""
    parts = urlsplit(to)
    assert parts.hostname
    assert parts.port
    target = (parts.hostname, parts.port)

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if tls is not None:
                with contextlib.suppress(OSError), tls.wrap_socket(self.request, server_side=True) as near:
                    _copy_both(near, target)
                return
            with socket.create_connection(target) as far:
                back = threading.Thread(target=_copy, args=(far, self.request), daemon=True)
                back.start()
                _copy(self.request, far)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", port), Forward) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _copy_both(near: ssl.SSLSocket, target: tuple[str, int]) -> None:
    """Copy both ways on one thread: OpenSSL allows no two on one connection."""
    with socket.create_connection(target) as far:
        while True:
            # What has been decrypted already makes no socket readable.
            readable = [near] if near.pending() else select.select([near, far], [], [])[0]
            for source in readable:
                data = source.recv(65536)
                if not data:
                    return
                (far if source is near else near).sendall(data)
