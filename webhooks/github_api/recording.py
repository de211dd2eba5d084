"""A client that reads and does not write: what would change something at GitHub is recorded, and answered plausibly.

To run a handler on a copy of a delivery. Calls that read pass, signed with the App's key if there is one, or with a
token, or with nothing. `client` is for `Run(open_github=…)`.
"""

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from githubkit import GitHub, TokenAuthStrategy, UnauthAuthStrategy

from webhooks.github_api.access import app_of
from webhooks.github_api.client import connections
from webhooks.github_api.kit import client
from webhooks.github_api.sharing import shared
from webhooks.github_api.tokens import AsInstallation, Tokens

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_TOKEN = re.compile(r"/app/installations/[0-9]+/access_tokens$")
_WRITES = re.compile(r"\bmutation\b")
"""Anywhere: comments, fragments and other operations may stand before it. Who only mentions it is recorded too."""
_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was not sent."""

    method: str
    path: str
    """Without the API's own address, with the query."""
    content: Any = None
    """The JSON, or None."""


@dataclass(slots=True)
class Recording:
    """The client, and what it did not send."""

    client: GitHub[Any]
    calls: list[Call] = field(default_factory=list)


class RecordingTransport(httpx.BaseTransport):
    """Lets reads through to `below`, and hands everything else to `record`. A call for a token is a read."""

    def __init__(self, below: httpx.BaseTransport, *, base_path: str, record: Callable[[Call], None]) -> None:
        self._below, self._base_path, self._record = below, base_path.rstrip("/"), record

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._is_read(request):
            return self._below.handle_request(request)
        call = call_of(request, base_path=self._base_path)
        self._record(call)
        return _answer(call)

    @staticmethod
    def _is_read(request: httpx.Request) -> bool:
        if request.url.path.endswith("/graphql"):
            query = _content(request, key="query")
            return isinstance(query, str) and _WRITES.search(query) is None
        return request.method in _READS or _TOKEN.search(request.url.path) is not None


def recording_client(
    source: str,
    installation_id: int | None,
    *,
    api_url: str = "https://api.github.com",
    token: str = "",
    record: Callable[[Call], None] | None = None,
) -> Recording:
    """Return a client for an installation of a source, which writes nothing.

    `api_url` and `token` are for a source whose App's key this process does not have. What is not sent is told to
    `record`, or kept.
    """
    app = app_of(source)
    address = app.api_url if app else api_url
    calls: list[Call] = []
    below = connections(address)
    transport = RecordingTransport(below, base_path=httpx.URL(address).path, record=record or calls.append)
    auth: Any = TokenAuthStrategy(token) if token else UnauthAuthStrategy()
    if app and installation_id is not None:
        auth = AsInstallation(Tokens(app, installation_id, transport=below, shared=shared()))
    return Recording(client(auth, address, transport=transport), calls)


def call_of(request: httpx.Request, *, base_path: str = "") -> Call:
    """Return what a request asks for."""
    path = request.url.raw_path.decode().removeprefix(base_path.rstrip("/"))
    return Call(request.method, path, _content(request))


def _content(request: httpx.Request, *, key: str = "") -> Any:
    try:
        content = json.loads(request.read())
    except ValueError:
        return None
    return content.get(key, "") if key and isinstance(content, dict) else content


def _answer(call: Call) -> httpx.Response:
    """Answer as GitHub does where it can be told from the call: what was sent, with an id."""
    if call.method == "DELETE":
        return httpx.Response(204)
    number = next(_ids)
    sent = call.content if isinstance(call.content, dict) else {}
    made = {"id": number, "node_id": f"recorded-{number}", "url": call.path, "html_url": call.path, **sent}
    return httpx.Response(201 if call.method == "POST" else 200, json=made)
