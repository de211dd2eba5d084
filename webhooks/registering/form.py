"""Serves, on this machine alone, the form that posts the manifest to GitHub, and waits for GitHub's code.

GitHub takes a manifest only from a browser in which its owner is signed in.
"""

import secrets
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import orjson

CALLBACK = "/made"


class FormServer:
    """The form's server. `wait` serves until GitHub has led the browser back with a code."""

    def __init__(self, port: int) -> None:
        """Raises OSError if the port is taken."""
        self._state = secrets.token_urlsafe(24)
        self._page = b""
        self._code = ""
        own = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, page = own.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Cache-Control", "no-store")
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing: the path has the code."""

        self._server = HTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def redirect_url(self) -> str:
        return f"{self.url}{CALLBACK}"

    def wait(self, manifest: dict[str, Any], *, new_app_url: str) -> str:
        """Return the code that GitHub gives for the App that is made of the manifest."""
        action = f"{new_app_url}?{urlencode({'state': self._state})}"
        self._page = _form(manifest, action).encode()
        try:
            while not self._code:
                self._server.handle_request()
        finally:
            self._server.server_close()
        return self._code

    def answer(self, target: str) -> tuple[int, bytes]:
        """Return the answer to a request for a path of this server."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/":
            return 200, self._page
        if parts.path != CALLBACK:
            return 404, _said("There is no such page.")
        if not secrets.compare_digest(query.get("state", "").encode(), self._state.encode()) or "code" not in query:
            return 400, _said("This is not the answer to the form of this program. Begin again.")
        self._code = query["code"]
        return 200, _said("The App is made. Go on in the terminal.")


def _form(manifest: dict[str, Any], action: str) -> str:
    rows = "".join(
        f"<li>{escape(name)}: {escape(level)}</li>" for name, level in manifest["default_permissions"].items()
    )
    events = escape(", ".join(manifest["default_events"])) or "only those that every App gets"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Make the GitHub App</title></head><body>'
        f"<h1>Make the GitHub App {escape(manifest['name'])}</h1>"
        f"<p>Webhooks go to {escape(manifest['hook_attributes']['url'])}</p>"
        f"<p>Events: {events}</p><p>Permissions:</p><ul>{rows}</ul>"
        f'<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="manifest" value="{escape(orjson.dumps(manifest).decode())}">'
        '<button type="submit">Go to GitHub</button></form></body></html>'
    )


def _said(sentence: str) -> bytes:
    return f'<!doctype html><html lang="en"><title>Hookline</title><p>{escape(sentence)}</p></html>'.encode()
