"""Calls a WSGI application (PEP 3333) with a request whose body has been read, and returns its whole response."""

import io
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from granian.rsgi import Scope

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Response = tuple[int, list[tuple[str, str]], bytes]


def environ_of(scope: Scope, headers: Mapping[str, str], body: bytes) -> Environ:
    """Return PEP 3333's environ for a request whose body has been read."""
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
        # x_github_event would be taken for X-GitHub-Event. And the body is no longer chunked.
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
