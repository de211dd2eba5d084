"""The form of a destination: what a person has written, what of it is wrong, and what is to be stored."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from webhooks.destination_handlers import FAIR_BY, LONGEST_SECONDS, QUEUE, is_standard_secret
from webhooks.github.event_names import EVENT_NAMES
from webhooks.github.json_paths import split_at
from webhooks.inbox.destinations.changing import Secrets, origin_of
from webhooks.models import Destination
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.keys import NAMES
from webhooks.subscriptions.matching import EVERY_EVENT, Expected, path_fault

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?")
MOST_ATTEMPTS = 50
LONGEST_FIRST_WAIT = 3_600.0
MOST_HEADERS = 20
LONGEST_HEADER = 4_000
SHORTEST_SECRET = 16
PARTIES = {FAIR_BY: "the destination", **{name: f"each {name}" for name in ("installation", "repository", "sender")}}
"""Who may have a part of the queue, as the form says it; by the key of `@on(fair_by=...)`."""
ORDERS = {"": "no", **{name: f"of each {name.replace('_', ' ')}" for name in NAMES}}
"""Of what one is sent at a time, or only the newest waits."""
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_OURS = re.compile(r"(?i)host|connection|content-length|content-type|transfer-encoding|idempotency-key|te|upgrade")
_NOT_STANDARD = "Standard Webhooks wants 24 to 64 bytes in Base64, as `openssl rand -base64 32` prints."
_WORDS = re.compile(r"[\s,]+")


class DestinationForm:
    """What was written, by field; `values` and `secrets` hold what it means where `errors` is empty."""

    def __init__(self, given: Mapping[str, str], *, row: Destination | None) -> None:
        self.given = given
        self.row = row
        self.errors: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        for field, read in _READERS.items():
            self._take(field, read)
        self._take_url()
        order, latest = self.values.get("one_at_a_time_by"), self.values.get("latest_only_by")
        if order and latest and order != latest:
            self.errors["latest_only_by"] = "If both are chosen, they are the same."
        self.secrets = Secrets(headers=self._headers(), signing_secret=self._signing_secret())

    @property
    def name(self) -> str:
        return self.row.name if self.row else self.given.get("name", "").strip()

    def check_name(self) -> None:
        if not NAME.fullmatch(self.name):
            self.errors["name"] = "Up to 50 small letters, digits and hyphens, such as team-chat."
        elif Destination.objects.filter(name=self.name).exists():
            self.errors["name"] = "There is a destination of this name."

    @property
    def filter_errors(self) -> dict[str, str]:
        return {field: self.errors[field] for field in ("events", "repository", "where") if field in self.errors}

    def unsaved(self) -> Destination:
        """Return a destination with what was written of the filter, to look what it matches."""
        return Destination(name="preview", **{field: self.values[field] for field in _OF_FILTER})

    def _take(self, field: str, read: Callable[[str], Any]) -> None:
        try:
            self.values[field] = read(self.given.get(field, "").strip())
        except ValueError as error:
            self.errors[field] = str(error)

    def _take_url(self) -> None:
        if not self.given.get("url", "").strip() and self.row:
            return  # It may hold a token: it is not shown again, and stays if none is written.
        self._take("url", _url)

    def _headers(self) -> dict[str, str | None] | None:
        try:
            headers = _headers(self.given.get("headers", ""))
        except ValueError as error:
            self.errors["headers"] = str(error)
            return None
        kept = self.row.header_names if self.row else []
        for name, value in headers.items():
            if value is None and name not in kept:
                self.errors["headers"] = f"{name} has no value, and none is stored."
            elif value is None and self._has_new_host:
                self.errors["headers"] = f"Write {name} again: no stored value is sent to another host."
        return headers

    @property
    def _has_new_host(self) -> bool:
        """Whether what is stored would be sent to somebody else, who could read it there."""
        return self.row is not None and origin_of(self.values.get("url", self.row.url)) != origin_of(self.row.url)

    def _signing_secret(self) -> str | None:
        """Return the new secret; None if the stored one stays, and empty if there is to be none."""
        secret, signing = self.given.get("signing_secret", "").strip(), self.values.get("signing")
        if signing == Destination.Signing.NONE:
            return ""
        if not secret and self.row and self.row.signing_secret and self.row.signing == signing:
            return None
        if signing == Destination.Signing.STANDARD and not is_standard_secret(secret):
            self.errors["signing_secret"] = _NOT_STANDARD
        elif len(secret) < SHORTEST_SECRET or not secret.isprintable():
            self.errors["signing_secret"] = f"A secret has {SHORTEST_SECRET} characters or more, on one line."
        return secret


def written(row: Destination) -> dict[str, str]:
    """Return what the form shows of a stored destination: no secret, and not its URL, whose path may be one."""
    return {
        "events": ", ".join(row.events),
        "actions": ", ".join(row.actions),
        "repository": row.repository,
        "where": "\n".join(f"{path} = {_shown(expected)}" for path, expected in row.where.items()),
        "headers": "\n".join(f"{name}:" for name in row.header_names),
        "signing": row.signing,
        "time_limit": f"{row.time_limit:g}",
        "max_attempts": str(row.max_attempts),
        "backoff_seconds": f"{row.backoff_seconds:g}",
        "queue": row.queue,
        "fair_by": row.fair_by,
        "one_at_a_time_by": row.one_at_a_time_by,
        "latest_only_by": row.latest_only_by,
        "allow_private": "yes" if row.allow_private else "",
    }


def defaults() -> dict[str, str]:
    """Return what an empty form shows."""
    return written(Destination(events=[EVERY_EVENT])) | {"events": ""}


def queues() -> list[str]:
    """Return the queues that a destination may have: those that workers consume."""
    return sorted({QUEUE, *installed_subscriptions().queues})


def _events(text: str) -> list[str]:
    events = list(dict.fromkeys(filter(None, _WORDS.split(text))))
    unknown = [event for event in events if event not in EVENT_NAMES and event != EVERY_EVENT]
    if unknown:
        raise ValueError(f"GitHub has no event {unknown[0][:50]}.")
    if not events:
        raise ValueError("Name one event or more, or * for every event.")
    return events


def _actions(text: str) -> list[str]:
    return list(dict.fromkeys(filter(None, _WORDS.split(text))))


def _repository(text: str) -> str:
    if text and ("/" not in text or len(text) > 255):
        raise ValueError("A repository has its owner: acme/widgets, or acme/*.")
    return text


def _where(text: str) -> dict[str, Expected]:
    """Read a condition a line: a path, = and a value; numbers, true, false, null and lists as in JSON."""
    where: dict[str, Expected] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        path, *rest = split_at(line, "=")
        value = line.removeprefix(path).lstrip().removeprefix("=").strip()
        if not rest or not value:
            raise ValueError(f"Each line is a path, = and a value, and this is not: {line[:80]}")
        if fault := path_fault(path):
            raise ValueError(f"The path {path[:80]} {fault}")
        where[path] = _expected(value)
    return where


def _expected(text: str) -> Expected:
    try:
        value = orjson.loads(text)
    except ValueError:
        return text
    scalars = value if isinstance(value, list) else [value]
    if not scalars or not all(one is None or isinstance(one, (str, int)) for one in scalars):
        raise ValueError(f"A value is a text, a whole number, true, false, null or a list of them: {text[:80]}")
    return value  # type: ignore[no-any-return]  # It was looked at.


def _shown(expected: Expected) -> str:
    if isinstance(expected, str) and _is_plain(expected):
        return expected
    return orjson.dumps(expected).decode()


def _is_plain(text: str) -> bool:
    """Tell whether a text is read again as the same text."""
    try:
        return text == text.strip() and _expected(text) == text
    except ValueError:
        return False


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or len(text) > 2_000 or not text.isprintable() or " " in text:
        raise ValueError("A whole URL that begins with https:// (or http://).")
    if parts.username is not None or parts.password is not None:
        raise ValueError("No name and password in the URL: give them as the header Authorization.")
    if parts.fragment:
        raise ValueError("A URL without #: what follows is never sent.")
    return text


def _headers(text: str) -> dict[str, str | None]:
    headers: dict[str, str | None] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, sign, value = (part.strip() for part in line.partition(":"))
        if not sign or not _HEADER.fullmatch(name):
            raise ValueError("Each line is a header's name, a colon and its value.")
        if _OURS.fullmatch(name) or name.lower().startswith(("x-github-", "x-hub-", "webhook-")):
            raise ValueError(f"{name} is set by Hookline.")
        if not value.isascii() or (not value.isprintable() and value) or len(value) > LONGEST_HEADER:
            raise ValueError(f"The value of {name} must be printable ASCII of up to {LONGEST_HEADER:,} characters.")
        headers[name] = value or None
    if len(headers) > MOST_HEADERS:
        raise ValueError(f"{MOST_HEADERS} headers at most.")
    return headers


def _one_of(choices: Callable[[], list[str]]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices():
            raise ValueError("Choose one of these.")
        return text

    return read


def _number(lowest: float, highest: float, kind: type[float] | type[int]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(-1)
        if not lowest <= value <= highest:
            raise ValueError(f"A number from {lowest:g} to {highest:,g}.")
        return value

    return read


_OF_FILTER = ("events", "actions", "repository", "where")
_READERS: Mapping[str, Callable[[str], Any]] = {
    "events": _events,
    "actions": _actions,
    "repository": _repository,
    "where": _where,
    "signing": _one_of(lambda: list(Destination.Signing.values)),
    "time_limit": _number(1, LONGEST_SECONDS, float),
    "max_attempts": _number(1, MOST_ATTEMPTS, int),
    "backoff_seconds": _number(1, LONGEST_FIRST_WAIT, float),
    "queue": _one_of(queues),
    "fair_by": _one_of(lambda: list(PARTIES)),
    "one_at_a_time_by": _one_of(lambda: list(ORDERS)),
    "latest_only_by": _one_of(lambda: list(ORDERS)),
    "allow_private": lambda text: text == "yes",
}
