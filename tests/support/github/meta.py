"""GitHub's /meta on loopback: the addresses of its hooks, with an ETag; and faults on demand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Meta:
    """What it answers, and what it was asked. `prefix` is /api/v3 on GitHub Enterprise Server."""

    hooks: list[str]
    prefix: str = ""
    url: str = ""
    status: int = 200
    body: bytes = b""
    """In place of the list, if there is any."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, bytes, str]:
        self.asked.append((path, headers))
        listed = {"verifiable_password_authentication": False, "hooks": self.hooks, "git": ["203.0.113.0/24"]}
        body = self.body or json.dumps(listed).encode()
        etag = f'"{sha256(body).hexdigest()[:12]}"'
        status = self.status if path == f"{self.prefix}/meta" else 404
        if status == 200 and headers.get("If-None-Match") == etag:
            status, body = 304, b""
        self.statuses.append(status)
        return status, body, etag


@contextmanager
def meta_of(*hooks: str, prefix: str = "") -> Iterator[Meta]:
    """Serve /meta until the end of the block."""
    meta = Meta(list(hooks), prefix)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, etag = meta.answer(self.path, dict(self.headers))
            self.send_response(status)
            self.send_header("ETag", etag)
            self.send_header("Location", f"{meta.url}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        meta.url = f"http://127.0.0.1:{server.server_address[1]}{prefix}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield meta
        finally:
            server.shutdown()
            thread.join()
