"""Keys: by which value of its payload a job counts to the same party as others, or is in order with them. No I/O.

A key is one of the names in NAMES, or a dotted path of the payload; a party may be a handler, too. Installations,
repositories and users are told apart by GitHub's numbers, which outlast a change of name.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from webhooks.github.names import is_in_any_case
from webhooks.subscriptions.matching import values_at

HANDLER = "handler"
"""The key of a party by which each handler of a queue is one."""
LONGEST_VALUE = 100
"""In characters. Instead of a longer value its hash is kept: only whether two are equal matters."""

_PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")


class JobKeys(NamedTuple):
    """The keys of one job, as the inbox holds them; None where its handler declares none."""

    fair: str | None = None
    """Whose job it is, where its queue is shared fairly. The empty text stands for all jobs of nobody in particular."""
    order: str | None = None
    """Of the jobs with the same, one runs at a time. None also if the payload lacks the value."""
    latest: str | None = None
    """Of the jobs with the same, only the newest waits. None also if the payload lacks the value."""


def is_key(text: object) -> bool:
    """Tell whether a text can be a key."""
    return isinstance(text, str) and (text in NAMES or _PATH.fullmatch(text) is not None)


def fair_key(key: str, *, handler: str, source: str, payload: Mapping[str, Any]) -> str:
    """Return whose job it is; empty if the payload does not say.

    It begins with a piece of its hash: so a text drawn at random comes before each party with the same probability.
    """
    if key == HANDLER:
        text = f":{HANDLER}:{handler}"  # Whatever the source.
    elif (value := _value_of(key, payload)) is not None:
        text = f"{source}:{_bounded(f'{key}:{value}')}"
    else:
        return ""
    return f"{hashlib.sha256(text.encode()).hexdigest()[:6]}:{text}"


def handler_key(key: str, *, handler: str, source: str, payload: Mapping[str, Any]) -> str | None:
    """Return what the handler's jobs with the same value have in common; None if the payload lacks the value."""
    value = _value_of(key, payload)
    return None if value is None else f"{handler}:{source}:{_bounded(f'{key}:{value}')}"


def _value_of(key: str, payload: Mapping[str, Any]) -> str | None:
    return NAMES[key](payload) if key in NAMES else _at(key, payload)


def _at(path: str, payload: Mapping[str, Any]) -> str | None:
    """Return the value at a path as text; of a list, that of its first element that has one."""
    found = next(filter(None, map(_text, values_at(payload, path.split(".")))), None)
    return found.lower() if found and is_in_any_case(path) else found


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int)) and value != "" else None


def _installation(payload: Mapping[str, Any]) -> str | None:
    return _at("installation.id", payload)


def _repository(payload: Mapping[str, Any]) -> str | None:
    return _at("repository.id", payload) or _at("repository.full_name", payload)


def _sender(payload: Mapping[str, Any]) -> str | None:
    return _at("sender.id", payload) or _at("sender.login", payload)


def _pull_request(payload: Mapping[str, Any]) -> str | None:
    repository, number = _repository(payload), next(_pull_request_numbers(payload), None)
    return f"{repository}#{number}" if repository and number else None


def _pull_request_numbers(payload: Mapping[str, Any]) -> Iterator[str]:
    """Yield the number of the pull request that an event is about, from wherever GitHub puts it."""
    issue = payload.get("issue")
    is_of_issue = isinstance(issue, Mapping) and bool(
        issue.get("pull_request")
    )  # GitHub calls a pull request an issue.
    for path in ("pull_request.number", *(["issue.number"] if is_of_issue else [])):
        yield from filter(None, [_at(path, payload)])
    for name in ("check_run", "check_suite", "workflow_run"):
        # One commit may belong to several pull requests, and then the event is about none of them in particular.
        numbers = {*values_at(payload, [name, "pull_requests", "number"])}
        if len(numbers) == 1:
            yield str(numbers.pop())


NAMES: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
    "installation": _installation,
    "repository": _repository,
    "sender": _sender,
    "pull_request": _pull_request,
}


def _bounded(text: str) -> str:
    """Return the text, or its hash if it is too long or no database takes it (NUL, lone surrogates)."""
    raw = text.encode(errors="surrogatepass")
    is_storable = "\0" not in text and (text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text))
    return text if len(text) <= LONGEST_VALUE and is_storable else f"sha256-{hashlib.sha256(raw).hexdigest()}"
