"""Asks another installation for its deliveries, over the API of `webhooks/api/`. Stores nothing.

The token goes to the given address alone: redirects are not followed.
"""

import base64
import binascii
import ssl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from webhooks.paths import API

CONNECT_SECONDS, SILENT_SECONDS = 10.0, 30.0
LARGEST_ANSWER = 256 * 1024 * 1024
MOST_PARTS = 100_000
"""Of a walk: far more than any repository has, and fewer than for ever."""


class RemoteError(Exception):
    """The other installation does not hand out what was asked for. The message is for the person who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A delivery as the other installation has it. `gone` says why there is no body."""

    source: str
    hook_id: int
    guid: uuid.UUID
    event: str
    action: str
    repository: str
    received_at: datetime
    headers: Mapping[str, str]
    body: bytes | None
    gone: str


@dataclass(frozen=True, slots=True)
class Part:
    """Some deliveries, in order of arrival; and how many more may belong to them, but could not be read there."""

    deliveries: Sequence[Handed]
    pruned: int = 0
    unreadable: int = 0
    too_large: int = 0
    since: str = ""
    """The walk has looked at nothing older."""


class Remote:
    """Another installation. Use it in a `with` block."""

    def __init__(self, url: str, token: str) -> None:
        """Raises ValueError, with a sentence, for an address that a token must not be sent to."""
        parts = urlsplit(url.rstrip("/"))
        if not parts.hostname or parts.username or parts.scheme not in ("http", "https") or parts.query:
            raise ValueError("must be an address such as https://hooks.example.com, with no password in it")
        self._is_local = _is_loopback(parts.hostname)
        if parts.scheme == "http" and not self._is_local:
            raise ValueError("must begin with https://, since the token and the payloads go over it")
        self._url, self.host = parts.geturl(), parts.netloc
        self._token = token
        self._open = ExitStack()
        self._http: Any = None

    def __enter__(self) -> "Remote":
        import httpx  # Not above: it takes a third of a second, and no other command needs it.

        self._http = self._open.enter_context(
            httpx.Client(
                headers={"Authorization": f"Bearer {self._token}", "User-Agent": "hookline"},
                timeout=httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
                # A proxy cannot reach what is on this machine. SSL_CERT_FILE holds all the same.
                trust_env=not self._is_local,
                verify=ssl.create_default_context() if self._is_local else True,
            )
        )
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def of_guid(self, guid: uuid.UUID) -> Iterator[Part]:
        """Yield the deliveries of a GUID. Raises RemoteError."""
        return self._parts(f"deliveries/{guid}")

    def of_pull_request(self, repository: str, number: int) -> Iterator[Part]:
        """Yield the deliveries of a pull request, in order of arrival. A part may be empty. Raises RemoteError."""
        return self._parts(f"pull-requests/{quote(repository)}/{number}")

    def _parts(self, path: str) -> Iterator[Part]:
        after: str | None = None
        for _ in range(MOST_PARTS):
            said = self._get(path, {"after": after} if after else {})
            try:
                yield _part(said)
                following = said["next"]
            except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
                raise RemoteError(f"{self.host} answers with what this release does not understand.") from None
            if following is None or following == after:
                return
            after = str(following)

    def _get(self, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        import httpx

        try:
            with self._http.stream("GET", f"{self._url}{API}{path}", params=params) as answer:
                status, headers, body = answer.status_code, answer.headers, _read(answer)
        except httpx.TimeoutException:
            raise RemoteError(f"{self.host} does not answer in time.") from None
        except httpx.HTTPError as error:
            raise RemoteError(f"{self.host} cannot be reached: {cause_of(error)}.") from None
        said = _said(body)
        if 200 <= status < 300 and said is not None:
            return said
        raise RemoteError(self._refusal(status, headers, said))

    def _refusal(self, status: int, headers: Mapping[str, str], said: Mapping[str, Any] | None) -> str:
        if said is not None:
            sentence = _printable(said.get("error", ""))
            beginning = {401: "refuses the token", 403: "refuses this token's user"}.get(status, f"answers {status}")
            return f"{self.host} {beginning}: {sentence}"
        if 300 <= status < 400:
            to = _printable(headers.get("location", ""))
            return f"{self.host} leads elsewhere ({to}). The token goes nowhere but to --from; give the right address."
        return (
            f"{self.host} answers {status}, and not as Hookline does. Is it Hookline, of a release with the API, and "
            f"is {API} routed to it?"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _read(answer: Any) -> bytes:
    parts, size = [], 0
    for part in answer.iter_bytes():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise RemoteError("The answer is larger than any of Hookline's.")
        parts.append(part)
    return b"".join(parts)


def _said(body: bytes) -> Mapping[str, Any] | None:
    """Return what Hookline has answered, or None if it was not Hookline."""
    try:
        said = orjson.loads(body)
    except ValueError:
        return None
    return said if isinstance(said, dict) and "hookline" in said else None


def _part(said: Mapping[str, Any]) -> Part:
    return Part(
        [_handed(one) for one in said["deliveries"]],
        pruned=int(said.get("pruned", 0)),
        unreadable=int(said.get("unreadable", 0)),
        too_large=int(said.get("too_large", 0)),
        since=str(said.get("since", "")),
    )


def _handed(one: Mapping[str, Any]) -> Handed:
    return Handed(
        source=str(one["source"]),
        hook_id=int(one["hook_id"]),
        guid=uuid.UUID(one["guid"]),
        event=str(one["event"]),
        action=str(one["action"]),
        repository=str(one["repository"]),
        received_at=datetime.fromisoformat(one["received_at"]),
        headers={str(name): str(value) for name, value in one["headers"].items()},
        body=_body(one["encoding"], one["body"]),
        gone=_printable(one["gone"] or ""),
    )


def _body(encoding: str, text: str | None) -> bytes | None:
    if text is None:
        return None
    return base64.b64decode(text, validate=True) if encoding == "base64" else text.encode()


def cause_of(error: BaseException) -> str:
    """Return why a connection failed: TLS in words of its own, since it is a different person's work."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"its certificate is not accepted ({cause.verify_message})"
            return f"{why}; SSL_CERT_FILE names a file with further authorities"
        if isinstance(cause, ssl.SSLError):
            return f"TLS fails ({cause.reason or type(cause).__name__})"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _printable(text: object) -> str:
    return "".join(character if character.isprintable() else "·" for character in str(text))[:300]
