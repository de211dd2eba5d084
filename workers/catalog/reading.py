"""Reads values out of GitHub's payloads: what is always there, what may be, and moments. No I/O.

A payload that lacks what GitHub always sends will lack it at every attempt, so reading it gives the job up.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.utils.dateparse import parse_datetime

from webhooks.event import GiveUp

Kind = TypeVar("Kind")


def required(payload: Mapping[str, Any], path: str, kind: type[Kind], *, of: str = "payload") -> Kind:
    """Return the value at a dotted path. Raises GiveUp where it is missing or of another type; `of` says of what."""
    value: Any = payload
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise GiveUp(f"The {of}'s {path} is {'missing' if value is None else 'not what GitHub sends'}.")


def text(payload: Mapping[str, Any], key: str) -> str:
    """Return a text that may be absent or null; then it is empty."""
    value = payload.get(key)
    return value if isinstance(value, str) else ""


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
