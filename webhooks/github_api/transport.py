"""How a call of a handler's goes out: within the time that its run has left, again if that may help, and counted.

A call is sent again where GitHub has certainly not carried it out, or may carry it out twice without harm: after a
connection that was not made, always; after an error of the server's or a broken connection, only if the method is one
that may be repeated. A comment is not written twice: there the run fails, and its job's own attempts decide.
"""

import itertools
import time
from collections.abc import Callable

import httpx

from webhooks.github_api.meter import Meter
from webhooks.subscriptions.subscription import Backoff

CONNECT_SECONDS, SILENT_SECONDS = 10.0, 30.0
MOST_TRIES = 4
BACKOFF = Backoff(first=0.5, longest=8.0)
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_TOKENS = "/access_tokens"
"""A second token does no harm."""
_QUERIES = "/graphql"


class Patient(httpx.BaseTransport):
    """Sends calls for one run, which ends at `until` by the monotonic clock."""

    def __init__(self, below: httpx.BaseTransport, *, meter: Meter, host: str, until: float) -> None:
        self._below, self._meter, self._host, self._until = below, meter, host, until

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != self._host:  # A download that GitHub leads to: no call of the API.
            return self._sent(request)
        self._meter.check()
        response = self._tried(request)
        self._note(request, response)
        return response

    def _tried(self, request: httpx.Request) -> httpx.Response:
        for tries in itertools.count(1):
            try:
                response = self._sent(request)
            except httpx.TransportError as error:
                may_repeat = isinstance(error, _NOT_SENT) or _is_repeatable(request)
                if not may_repeat or not self._pauses(tries):
                    raise
                continue
            if response.status_code < 500 or not _is_repeatable(request) or not self._pauses(tries):
                return response
            response.close()
        raise AssertionError("The count has no end.")

    def _sent(self, request: httpx.Request) -> httpx.Response:
        left = max(0.1, self._until - time.monotonic())
        connect, silent = min(CONNECT_SECONDS, left), min(SILENT_SECONDS, left)
        request.extensions["timeout"] = {"connect": connect, "read": silent, "write": silent, "pool": connect}
        return self._below.handle_request(request)

    def _pauses(self, tries: int) -> bool:
        """Wait before the next try; False if there is none."""
        seconds = BACKOFF.seconds(tries)
        if tries >= MOST_TRIES or time.monotonic() + seconds >= self._until:
            return False
        time.sleep(seconds)
        return True

    def _note(self, request: httpx.Request, response: httpx.Response) -> None:
        status = response.status_code
        if request.url.path.endswith(_QUERIES) and response.headers.get("x-ratelimit-remaining") == "0":
            # GraphQL refuses with 200: https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api
            status = httpx.codes.TOO_MANY_REQUESTS if b'"RATE_LIMITED"' in response.read() else status
        may_refuse = status in (httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS)
        # Calls for a token are of the App's own limit.
        is_own = not request.headers.get("Authorization", "").startswith("Bearer ")
        self._meter.note(status, response.headers, response.read() if may_refuse else b"", is_own=is_own)


def _is_repeatable(request: httpx.Request) -> bool:
    is_whole = isinstance(request.stream, httpx.ByteStream)  # A stream that was read cannot be sent again.
    return is_whole and (request.method in _REPEATABLE or request.url.path.endswith(_TOKENS))


class Kept(httpx.BaseTransport):
    """A transport that outlives the clients that use it: its connections are used again by the next run."""

    def __init__(self, below: Callable[[], httpx.BaseTransport]) -> None:
        self._make = below
        self._below: httpx.BaseTransport | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._below is None:
            self._below = self._make()
        return self._below.handle_request(request)

    def close(self) -> None:
        """Do nothing: clients close what they were given."""
