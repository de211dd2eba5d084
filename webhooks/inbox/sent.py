"""Makes what the inbox stores of what GitHub sent, whether it came by itself or was taken from GitHub's log. No I/O.

The rules on headers are GitHub's:
https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings

from webhooks.github import json_text
from webhooks.github.event_names import EVENT_NAME
from webhooks.github.payload import JSON, LARGEST_ID, PayloadError, summarise
from webhooks.github.redaction import Redaction
from webhooks.inbox.new_delivery import NewDelivery
from webhooks.subscriptions.subscription import Subscriptions
from webhooks.traces.context import HEADER, is_valid

KEPT_HEADERS = (
    "Content-Type",
    "User-Agent",
    "X-GitHub-Delivery",
    "X-GitHub-Enterprise-Host",
    "X-GitHub-Enterprise-Version",
    "X-GitHub-Event",
    "X-GitHub-Hook-ID",
    "X-GitHub-Hook-Installation-Target-ID",
    "X-GitHub-Hook-Installation-Target-Type",
)
"""The request headers that are stored. No others: GitHub has sent a header with the webhook's secret."""
LONGEST_HEADER = 200

_NUMBER = re.compile(r"[0-9]{1,19}")
# uuid.UUID also takes braces, URNs and stray hyphens, which GitHub never sends.
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One delivery as GitHub sent it. `headers` finds names in any case; `payload` is what `body` holds,
    and is redacted in place."""

    source: str
    headers: Mapping[str, str]
    body: bytes
    payload: dict[str, Any]


def fault_of(headers: Mapping[str, str]) -> str:
    """Return what is wrong with GitHub's headers, in a sentence for the sender, or an empty text."""
    if not EVENT_NAME.fullmatch(headers.get("X-GitHub-Event", "")):
        return "X-GitHub-Event is missing or not an event's name."
    if not _GUID.fullmatch(headers.get("X-GitHub-Delivery", "")):
        return "X-GitHub-Delivery is missing or not a GUID."
    hook_id = headers.get("X-GitHub-Hook-ID", "0")
    if not _NUMBER.fullmatch(hook_id) or int(hook_id) > LARGEST_ID:
        return "X-GitHub-Hook-ID is not a number."
    return ""


def delivery_of(sent: Sent, subscriptions: Subscriptions, *, secret_fingerprint: str) -> NewDelivery:
    """Return the delivery, with the subscriptions that it matches: they see what is redacted after that, and for good.

    Its headers have no fault. Raises PayloadError if the payload cannot be redacted.
    """
    event = sent.headers["X-GitHub-Event"]
    summary = summarise(sent.payload)
    matching = subscriptions.matching(event, summary.action, sent.payload)
    headers, body, redacted = _kept(sent.headers), sent.body, None
    if settings.HOOKLINE_REDACT and (redacted := _redaction(tuple(settings.HOOKLINE_REDACT)).redact(sent.payload)):
        summary = summarise(sent.payload)
        body = _written(sent.payload)
        headers["Content-Type"] = JSON  # Of a form too: what is stored is the JSON that was in it.
    keys = {one.name: subscriptions.keys_of(one, source=sent.source, payload=sent.payload) for one in matching}
    return NewDelivery(
        source=sent.source,
        hook_id=int(sent.headers.get("X-GitHub-Hook-ID", "0")),
        guid=uuid.UUID(sent.headers["X-GitHub-Delivery"]),
        event=event,
        action=summary.action,
        repository=summary.repository,
        installation_id=summary.installation_id,
        sender=summary.sender,
        secret_fingerprint=secret_fingerprint,
        headers=headers,
        body=body,
        subscriptions=matching,
        keys={name: found for name, found in keys.items() if any(one is not None for one in found)},
        redacted=redacted or None,
    )


_redaction = lru_cache(Redaction)


def _written(payload: Mapping[str, Any]) -> bytes:
    try:
        return json_text.dumps(payload)
    except ValueError:
        raise PayloadError("The payload nests too deeply to be redacted.") from None


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers to store: also the trace that the request is part of, or that the front has begun for it."""
    kept = {name: headers[name][:LONGEST_HEADER] for name in KEPT_HEADERS if name in headers}
    traceparent = headers.get(HEADER, "")
    return {**kept, HEADER: traceparent} if is_valid(traceparent) else kept
