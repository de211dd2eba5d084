"""Reads values out of GitHub's payloads: what a handler needs, what may be absent, and moments. No I/O.

GitHub's schemas change which values may be null or absent, and sometimes GitHub sends null where its schema does not
allow it. Then there is nothing to record, which is no failure. A value of another type is a failure at every attempt,
so the handler gives the job up.
"""

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard, TypeVar

from django.utils.dateparse import parse_datetime

from webhooks import Event, GiveUp

Kind = TypeVar("Kind")


class MissingError(Exception):
    """A value that a handler needs is null or absent in the payload."""


def succeeds_without_values(handler: Callable[[Event], str | None]) -> Callable[[Event], str | None]:
    """Let a handler succeed and return why it did nothing, if `required` finds that a value is missing."""

    @functools.wraps(handler)
    def handle(event: Event) -> str | None:
        try:
            return handler(event)
        except MissingError as missing:
            return f"nothing to record: {missing}"

    return handle


def is_storable(value: Any, kind: type[Kind]) -> TypeGuard[Kind]:
    """Tell whether a value is of a kind and fits a column: no NUL, which PostgreSQL refuses, and 64 bits at most."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return False
    return "\0" not in value if isinstance(value, str) else not isinstance(value, int) or abs(value) < 2**63


def required(payload: Mapping[str, Any], path: str, kind: type[Kind]) -> Kind:
    """Return the value at a dotted path. Raises MissingError where it is null or absent, GiveUp for another type."""
    value: Any = payload
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        raise MissingError(f"the payload's {path} is missing")
    if is_storable(value, kind):
        return value
    raise GiveUp(f"The payload's {path} is not what GitHub sends.")


def text(payload: Mapping[str, Any], key: str) -> str:
    """Return a text that may be absent or null; then it is empty."""
    value = payload.get(key)
    return value if is_storable(value, str) else ""


def texts(payload: Mapping[str, Any], key: str) -> set[str]:
    """Return the texts of a list that may be absent, null or empty."""
    value = payload.get(key)
    return {one for one in value if is_storable(one, str)} if isinstance(value, list) else set()


def objects(payload: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list that may be absent, null or empty."""
    value = payload.get(key)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def moment(value: Any) -> datetime | None:
    """Return a moment, which GitHub writes as ISO 8601 or, here and there, as seconds since 1970; or None."""
    try:
        if isinstance(value, str):
            parsed = parse_datetime(value)
            return parsed and (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
        return datetime.fromtimestamp(value, tz=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
