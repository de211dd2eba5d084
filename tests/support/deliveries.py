"""Deliveries as GitHub sends them. Imports nothing of Django's, for processes that have no settings."""

import json
from typing import Any

from webhooks.github.sender import Message

PATH = "/webhooks/github"
DISPATCH = "repository_dispatch"


def headers_for(
    body: bytes, *, secret: str, event: str = "ping", guid: str | None = None, hook_id: int = 7
) -> dict[str, str]:
    """Return GitHub's headers for a body; the length is the transport's."""
    return Message.signed(event, body, secret=secret).headers(hook_id=hook_id, guid=guid)


def body_of(**payload: Any) -> bytes:
    return json.dumps(payload).encode()
