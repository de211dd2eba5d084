"""Reads a verified body, JSON or GitHub's form, and the few values that the inbox stores in columns. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from webhooks.github import json_text

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
FORM_GROWTH = 3
"""How many times longer a payload can get in a form: percent-encoding turns one byte into three."""
LARGEST_ID = 2**63 - 1


class PayloadError(ValueError):
    """The body does not fit its content type. The message is for the sender, and shows nothing of the body."""


class PayloadTooLargeError(PayloadError):
    """The payload inside the form is over the limit."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The values of a payload that the inbox stores in columns; empty or None if there is no usable value."""

    action: str
    repository: str
    installation_id: int | None
    sender: str


def media_type(content_type: str) -> str:
    """Return the media type of a Content-Type header, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def parse(body: bytes, *, content_type: str, limit_bytes: int | None = None) -> dict[str, Any]:
    """Return the payload: a JSON object, alone or in the form's `payload` field. Raises PayloadError."""
    text = body if media_type(content_type) == JSON else _form_payload(body)
    if limit_bytes is not None and len(text) > limit_bytes:
        raise PayloadTooLargeError(f"The payload is over the limit of {limit_bytes:,} bytes.")
    try:
        payload = json_text.loads(text)
    except ValueError:
        raise PayloadError(f"The payload is not JSON, or nests deeper than {json_text.DEEPEST:,} levels.") from None
    if not isinstance(payload, dict):
        raise PayloadError("The payload must be a JSON object.")
    return payload


def _form_payload(body: bytes) -> bytes:
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=True, errors="surrogatepass", max_num_fields=16)
        (value,) = fields["payload"]
        return value.encode(errors="surrogatepass")
    except (KeyError, ValueError):
        raise PayloadError("The form must be URL-encoded and hold one field named payload.") from None


def summarise(payload: Mapping[str, Any]) -> Summary:
    """Return the values for the inbox's columns; a value of another type than GitHub's counts as absent."""
    return Summary(
        action=_text(payload.get("action"), 100),
        repository=_text(_member(payload, "repository", "full_name"), 255),
        installation_id=_identifier(_member(payload, "installation", "id")),
        sender=_text(_member(payload, "sender", "login"), 100),
    )


def _member(payload: Mapping[str, Any], name: str, key: str) -> Any:
    value = payload.get(name)
    return value.get(key) if isinstance(value, Mapping) else None


def _text(value: Any, longest: int) -> str:
    # PostgreSQL's text holds no NUL.
    return value if isinstance(value, str) and len(value) <= longest and "\0" not in value else ""


def _identifier(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= LARGEST_ID else None
