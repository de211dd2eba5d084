"""An entry of GitHub's log of deliveries: one attempt to deliver an event to a hook. No I/O.

https://docs.github.com/en/rest/apps/webhooks#list-deliveries-for-an-app-webhook
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from webhooks.github.event_names import EVENT_NAME
from webhooks.github.payload import LARGEST_ID

KEPT = timedelta(days=3)
"""How long GitHub keeps an entry: https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks"""


class UnreadableEntryError(ValueError):
    """The entry is not of the documented form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the list of deliveries says of one attempt."""

    id: int
    guid: uuid.UUID
    event: str
    action: str
    delivered_at: datetime
    duration_seconds: float
    status: str
    status_code: int
    throttled_at: datetime | None
    is_redelivery: bool


def entry_of(value: Any) -> Entry:
    """Read an entry. Raises UnreadableEntryError."""
    try:
        return Entry(
            id=_identifier(value["id"]),
            guid=uuid.UUID(value["guid"]),
            event=_event(value["event"]),
            action=_text(value.get("action"), 100),
            delivered_at=moment(value["delivered_at"]),
            duration_seconds=_seconds(value.get("duration")),
            status=_text(value.get("status"), 200),
            status_code=_status_code(value.get("status_code")),
            throttled_at=moment(value["throttled_at"]) if value.get("throttled_at") else None,
            is_redelivery=value.get("redelivery") is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableEntryError from error


def moment(text: str) -> datetime:
    """Return a moment of the API's. Raises ValueError or TypeError."""
    at = datetime.fromisoformat(text)
    if not 2000 <= at.year < 3000:  # The calendar's ends have no moment in every time zone.
        raise ValueError
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def sent_by(detail: Any) -> tuple[dict[str, str], Any]:
    """Return what a delivery's own page has of the request: its headers that can be stored, and its payload, or None.

    Headers are text of one line: a value that is anything else is left out. GitHub's log shows them as they were sent.
    """
    request = detail.get("request") if isinstance(detail, Mapping) else None
    if not isinstance(request, Mapping):
        return {}, None
    headers = request.get("headers")
    given = headers.items() if isinstance(headers, Mapping) else ()
    fit = {name: value for name, value in given if isinstance(value, str) and value.isprintable()}
    return fit, request.get("payload")


def _identifier(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST_ID:
        raise ValueError
    return value


def _event(value: str) -> str:
    if not EVENT_NAME.fullmatch(value):
        raise ValueError
    return value


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e6 else 0.0


def _status_code(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= 999 else 0


def _text(value: Any, longest: int) -> str:
    # PostgreSQL's text holds no NUL.
    return value[:longest].replace("\0", "") if isinstance(value, str) else ""
