"""One delivery as the API hands it out, and how much of them an answer holds."""

import base64
from typing import Any

from django.conf import settings

from webhooks.inbox.engine import payload_of
from webhooks.inbox.kept_bodies import UnreadableBodyError
from webhooks.models import Delivery

MOST_BYTES = 4 * 1024 * 1024
"""How many bytes of bodies an answer holds. One body that is larger comes alone."""
TEXT, BASE64 = "text", "base64"


class Room:
    """How many bytes of bodies an answer has room for."""

    def __init__(self) -> None:
        self._bytes = 0
        self._is_closed = False

    def takes(self, body_bytes: int) -> bool:
        """Tell whether a body goes in, and count it. After the first that does not, none does: the order is kept."""
        self._is_closed = self._is_closed or bool(self._bytes and self._bytes + body_bytes > MOST_BYTES)
        if not self._is_closed:
            self._bytes += max(1, body_bytes)
        return not self._is_closed


def as_json(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery with its body, or why the body is gone."""
    try:
        body, gone = payload_of(delivery.pk), _why_pruned()
    except UnreadableBodyError as error:
        body, gone = None, str(error)
    encoding, text = (TEXT, None) if body is None else _encoded(body)
    return {
        "id": delivery.pk,
        "source": delivery.source.name,
        "hook_id": delivery.hook_id,
        "guid": str(delivery.guid),
        "event": delivery.event,
        "action": delivery.action,
        "repository": delivery.repository,
        "received_at": delivery.received_at.isoformat(),
        "headers": delivery.headers,
        "encoding": encoding,
        "body": text,
        "gone": None if body is not None else gone,
    }


def _encoded(body: bytes) -> tuple[str, str]:
    """Return the body so that exactly its bytes can be made from it again."""
    try:
        return TEXT, body.decode()
    except UnicodeDecodeError:
        return BASE64, base64.b64encode(body).decode()


def _why_pruned() -> str:
    days = settings.HOOKLINE_KEEP_PAYLOADS_DAYS
    return f"The payload was pruned: HOOKLINE_KEEP_PAYLOADS_DAYS is {days} there."
