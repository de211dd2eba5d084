"""Serves the probes and metrics of the relay and the worker. The receiver has views instead.

    /livez      503: restart the process
    /readyz     503: the process takes no work now
    /startupz   503: the process has not started yet
    /metrics    Prometheus' text

Each probe answers in JSON with what is wrong, if anything. No request is logged: a probe comes every few seconds.
Connections are not kept alive, and a silent client is disconnected, so that the number of threads stays small.
"""

import errno
import json
import socketserver
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client import CollectorRegistry

from webhooks.exposition import exposition
from webhooks.listening import address_of, open_socket
from webhooks.paths import LIVEZ, METRICS, READYZ, STARTUPZ
from webhooks.threads import start_thread

SILENT_SECONDS = 5.0

Faults = Callable[[], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The health of a process. Each of the three functions returns what is wrong, or an empty list."""

    live: Faults
    ready: Faults
    started: Faults
    registry: CollectorRegistry

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Return the status, the content type and the body for a path."""
        if path == METRICS:
            return HTTPStatus.OK, *exposition(self.registry)
        words = {
            LIVEZ: ("live", self.live),
            READYZ: ("ready", self.ready),
            STARTUPZ: ("started", self.started),
        }
        if path not in words:
            return _json(HTTPStatus.NOT_FOUND, {"error": f"There are {', '.join(words)} and {METRICS} here."})
        word, faults = words[path]
        found = faults()
        status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
        return _json(status, {"status": f"not {word}" if found else word, "faults": found})


def _json(status: HTTPStatus, body: dict[str, Any]) -> tuple[HTTPStatus, str, bytes]:
    return status, "application/json", json.dumps(body).encode()


class ProbeServer(socketserver.ThreadingTCPServer):
    """Listens from its creation on; answers after a call of `start` (on a thread) or `serve_forever`.

    Raises OSError if the port cannot be bound.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, health: Health | None = None, *, host: str, port: int) -> None:
        self.health = health
        address = address_of(host)
        super().__init__((address, port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = open_socket(address)
        try:
            self.socket.bind((address, port))
            self.server_address = self.socket.getsockname()
            self.server_activate()
        except OSError:
            self.server_close()
            raise

    @classmethod
    def on_first_free(cls, ports: range, *, host: str) -> "ProbeServer":
        """Listen on the first port that is free. Raises OSError if none is."""
        for port in ports[:-1]:
            try:
                server = cls(host=host, port=port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return server
        return cls(host=host, port=ports[-1])

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self) -> None:
        start_thread("probes", self.serve_forever)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: a client that closes its connection early, or sends no HTTP, is no error of this process."""


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENT_SECONDS
    server: ProbeServer

    def do_GET(self) -> None:
        assert self.server.health is not None, "health is set before the server is started"
        status, content_type, body = self.server.health.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  The name is the library's.

    def version_string(self) -> str:
        return "hookline"

    def log_message(self, *_args: Any) -> None:
        """Log nothing."""
