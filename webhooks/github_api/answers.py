"""Conditional requests: GitHub is asked whether an answer still holds, which costs no call of the rate limit if so.

https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate
"""

from typing import NamedTuple

import httpx
import orjson

from webhooks.github_api.sharing import Shared

LARGEST_ANSWER = 512 * 1024
KEPT_SECONDS = 3600.0
_KIND = "answer"
_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that speak of the bytes as they came, not of the body as it is kept."""
_LIMITS = "x-ratelimit-"


class _Kept(NamedTuple):
    headers: dict[str, str]
    body: bytes


class Answers(httpx.BaseTransport):
    """Keeps answers in JSON that have an ETag, and asks with it the next time. `whose` is part of what they are for."""

    def __init__(self, below: httpx.BaseTransport, *, whose: str, shared: Shared) -> None:
        self._below, self._whose, self._shared = below, whose, shared

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "GET" or "If-None-Match" in request.headers:
            return self._below.handle_request(request)
        name = " ".join((self._whose, str(request.url), request.headers.get("Accept", "")))
        kept = self._kept(name)
        if kept is not None:
            request.headers["If-None-Match"] = kept.headers["etag"]
        response = self._below.handle_request(request)
        if kept is not None and response.status_code == httpx.codes.NOT_MODIFIED:
            response.close()
            return _answer(kept, response)
        return self._keep(name, response)

    def _kept(self, name: str) -> _Kept | None:
        found = self._shared.get(_KIND, name)
        if found is None:
            return None
        headers, _, body = found.partition(b"\n")
        return _Kept(orjson.loads(headers), body)

    def _keep(self, name: str, response: httpx.Response) -> httpx.Response:
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code != httpx.codes.OK or "ETag" not in response.headers or not is_json:
            return response
        body = response.read()
        headers = {key: value for key, value in response.headers.items() if key not in _OF_THE_WIRE}
        if len(body) <= LARGEST_ANSWER:
            self._shared.put(_KIND, name, orjson.dumps(headers) + b"\n" + body, seconds=KEPT_SECONDS)
            self._shared.limit(_KIND)
        return httpx.Response(response.status_code, headers=headers, content=body)


def _answer(kept: _Kept, response: httpx.Response) -> httpx.Response:
    now = {key: value for key, value in response.headers.items() if key.startswith(_LIMITS) or key == "date"}
    return httpx.Response(httpx.codes.OK, headers={**kept.headers, **now}, content=kept.body)
