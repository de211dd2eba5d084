"""Asks a GitHub which addresses it sends webhooks from: GET /meta of its API, without signing in.

https://docs.github.com/rest/meta/meta#get-github-meta-information
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from webhooks.github import json_text

Network = IPv4Network | IPv6Network

SILENT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""For a whole answer, however steadily it comes."""
LARGEST_ANSWER = 4 * 1024 * 1024
_PART = 64 * 1024


class MetaError(Exception):
    """There is no list of addresses. The message says why, in words to put after "GitHub"."""


@dataclass(frozen=True, slots=True)
class HookNetworks:
    """The networks that a GitHub names, and what to ask with next time."""

    networks: tuple[Network, ...]
    etag: str


def read(url: str, *, etag: str = "") -> HookNetworks | None:
    """Return the networks; None if they are those that came with `etag`. Raises MetaError."""
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "hookline"}
    if etag:
        headers["If-None-Match"] = etag
    try:
        # Over HTTPS: project/github_access.py takes no other address, but for one on this machine.
        with _OPENER.open(Request(url, headers=headers), timeout=SILENT_SECONDS) as answer:  # noqa: S310
            return HookNetworks(networks_of(_body(answer)), answer.headers.get("ETag", ""))
    except HTTPError as error:
        with error:
            if error.code == 304 and etag:
                return None
            raise MetaError(f"answers {error.code}") from None
    except TimeoutError:
        raise MetaError("does not answer in time") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise MetaError(f"cannot be reached ({type(reason).__name__})") from None


def networks_of(body: bytes) -> tuple[Network, ...]:
    """Return the networks that an answer of /meta names. Raises MetaError if there is none, or what is no network."""
    try:
        found: Any = json_text.loads(body)
    except ValueError:
        raise MetaError("answers with what is no JSON") from None
    listed = found.get("hooks") if isinstance(found, Mapping) else None
    # An empty list would refuse every delivery.
    if not isinstance(listed, list) or not listed:
        raise MetaError("names no addresses of hooks")
    try:
        return tuple(ip_network(str(each)) for each in listed)
    except ValueError:
        raise MetaError("names addresses of hooks that cannot be read") from None


def _body(answer: HTTPResponse) -> bytes:
    until = time.monotonic() + ANSWER_SECONDS
    body = b""
    while part := answer.read1(_PART):
        body += part
        if len(body) > LARGEST_ANSWER:
            raise MetaError("answers with more than can be read")
        if time.monotonic() > until:
            raise TimeoutError
    return body


class _NoRedirects(HTTPRedirectHandler):
    """Whoever could redirect would otherwise say from where deliveries are taken in."""

    def redirect_request(self, *_args: Any, **_options: Any) -> None:
        return None


_OPENER = build_opener(_NoRedirects)
