"""Sends one request, and reads of the answer what the timeline shows. Follows no redirect."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import httpcore
import httpx

from webhooks.forwarding.network import AddressRefusedError, Deadline, GuardedTransport

MOST_READ = 64 * 1024
"""Of a longer answer the rest is not read, and its connection is closed."""
SHOWN = 500
_deadline = Deadline()


class UnreachableError(Exception):
    """There was no answer. The message says why, and names no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a target has answered."""

    status: int
    retry_after: str
    text: str
    """The first SHOWN characters of its body."""
    seconds: float


def post(url: str, *, headers: Mapping[str, str], body: bytes, seconds: float, allow_private: bool) -> Answer:
    """Send a body, and return the answer. Raises UnreachableError, or AddressRefusedError."""
    began_at = time.monotonic()
    _deadline.begin(seconds)
    try:
        with _client(allow_private=allow_private).stream("POST", url, content=body, headers=headers) as response:
            text = _text(response)
    except AddressRefusedError:
        raise
    except httpcore.TimeoutException:
        raise UnreachableError(f"No answer in {seconds:g} s.") from None
    except httpcore.ConnectError as error:
        raise UnreachableError(_why(error)) from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise UnreachableError("The connection ended before there was an answer.") from None
    return Answer(
        status=response.status_code,
        retry_after=response.headers.get("Retry-After", ""),
        text=text,
        seconds=time.monotonic() - began_at,
    )


@cache
def _client(*, allow_private: bool) -> httpx.Client:
    """Return this process's client. It keeps no cookies, and nothing of the environment is used."""
    client = httpx.Client(
        transport=GuardedTransport(_deadline, allow_private=allow_private),
        timeout=None,  # noqa: S113  The deadline bounds each step.
        trust_env=False,
        follow_redirects=False,
    )
    client.headers.clear()
    return client


def close() -> None:
    """Close the kept connections."""
    for allow_private in (False, True):
        _client(allow_private=allow_private).close()
    _client.cache_clear()


def _text(response: httpx.Response) -> str:
    """Return how the answer's body begins. The status has arrived: if the body does not, that is no failure."""
    body = b""
    try:
        for chunk in response.iter_raw():
            body += chunk
            if len(body) >= MOST_READ:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        pass
    # Decoded for what is shown only. Four bytes a character at most.
    return body[: 4 * SHOWN].decode(errors="replace").strip()[:SHOWN]


def _why(error: httpcore.ConnectError) -> str:
    cause = str(error)
    if "certificate" in cause.lower() or "ssl" in cause.lower():
        return "TLS failed: its certificate is not valid for this host, or it does not speak TLS."
    if "refused" in cause.lower():
        return "The connection is refused: nothing listens there."
    if "name" in cause.lower():
        return "The host's name is not known."
    return "No connection."
