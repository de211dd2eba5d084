"""The first part of a delivery's payload, as text. The whole body is the download's."""

from dataclasses import dataclass

import orjson
from django.db.models import BinaryField, F, Func, Value

from webhooks.github.payload import PayloadError, media_type, parse
from webhooks.models import Delivery, Payload

LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Preview:
    """The part of a body that is shown; `is_whole` if nothing is missing."""

    text: str
    is_whole: bool


def preview(delivery: Delivery) -> Preview | None:
    """Return the first 64 KB of the body, or None if the payload was pruned. Only these bytes leave the database."""
    head = Func(F("body"), Value(1), Value(LONGEST), function="SUBSTR", output_field=BinaryField())
    body = Payload.objects.filter(pk=delivery.pk).values_list(head, flat=True).first()
    if body is None:
        return None
    raw = bytes(body)
    if len(raw) < delivery.body_bytes:
        return Preview(raw.decode(errors="replace"), is_whole=False)
    return Preview(_indented(raw, content_type(delivery)) or raw.decode(errors="replace"), is_whole=True)


def content_type(delivery: Delivery) -> str:
    """Return the body's content type, without its parameters."""
    return media_type(str(delivery.headers.get("Content-Type", "")))


def _indented(raw: bytes, kind: str) -> str | None:
    """Return the JSON with indents, or None if it is not JSON or becomes too long."""
    try:
        text = orjson.dumps(parse(raw, content_type=kind), option=orjson.OPT_INDENT_2)
    except (PayloadError, orjson.JSONEncodeError):
        return None
    return text.decode() if len(text) <= LONGEST else None
