"""What happens to a webhook, in order: verify, parse, match, store, publish. Start reading Hookline here.

    refuse_unread   what can be said before the body is read: method, length, type, headers
    receive         the rest, up to the answer: 202 only after the commit

Values in, an `Answer` out: HTTP is in `views.py`, storage in `inbox/store.py`. Every rule on a header is
GitHub's: https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
"""

import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from webhooks.github.event_names import EVENT_NAME
from webhooks.github.payload import (
    FORM,
    FORM_GROWTH,
    JSON,
    LARGEST_ID,
    PayloadError,
    PayloadTooLargeError,
    media_type,
    parse,
    summarise,
)
from webhooks.github.signature import fingerprint, matching_secret
from webhooks.inbox.committer import Committer, InboxUnavailableError
from webhooks.inbox.store import JobToPublish, NewDelivery, store
from webhooks.receiver.body_length import LengthError, announced_length
from webhooks.subscriptions.subscription import Subscriptions

RETRY_AFTER_SECONDS = 5
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
"""The request headers that are stored. No others: GitHub has sent one that carried the webhook's secret."""
LONGEST_HEADER = 200

_NUMBER = re.compile(r"[0-9]{1,19}")

logger = logging.getLogger(__name__)


class Offers(Protocol):
    """Whoever takes committed jobs for the broker, without blocking."""

    def offer(self, jobs: tuple[JobToPublish, ...]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the receiver holds a delivery against: each source's current secrets, the subscriptions, the size limit."""

    secrets: Mapping[str, list[str]]
    fingerprint_key: str
    subscriptions: Subscriptions
    max_body_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a small JSON object."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(status: int, sentence: str, **headers: str) -> Answer:
    return Answer(status, {"error": sentence}, headers)


def refuse_unread(method: str, source: str, headers: Mapping[str, str], rules: Rules) -> Answer | None:
    """Return the answer to a request that can be refused before its body is read, or None.

    `headers` finds names in any case.
    """
    if source not in rules.secrets:
        return refusal(404, "No such source.")
    if method != "POST":
        return refusal(405, "Only POST is answered here.", Allow="POST")
    if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
        return refusal(411, "A Content-Length header is required, or a chunked body.")
    if media_type(headers.get("Content-Type", "")) not in (JSON, FORM):
        return refusal(415, f"The content type must be {JSON} or {FORM}.")
    return refuse_length(headers, body_limit(headers, rules)) or _refuse_headers(headers)


def refuse_length(headers: Mapping[str, str], limit: int) -> Answer | None:
    """Return the answer to a body whose announced length is over the limit or cannot be understood, or None."""
    try:
        length = announced_length(headers)
    except LengthError as error:
        return refusal(400, str(error))
    if length is not None and length > limit:
        return refusal(413, f"The body is over the limit of {limit:,} bytes.")
    return None


def body_limit(headers: Mapping[str, str], rules: Rules) -> int:
    """Return how many bytes a delivery's body may have. Written as a form, its payload grows."""
    is_form = media_type(headers.get("Content-Type", "")) == FORM
    return rules.max_body_bytes * (FORM_GROWTH if is_form else 1)


def _refuse_headers(headers: Mapping[str, str]) -> Answer | None:
    if not EVENT_NAME.fullmatch(headers.get("X-GitHub-Event", "")):
        return refusal(400, "X-GitHub-Event is missing or not an event's name.")
    if _guid(headers.get("X-GitHub-Delivery", "")) is None:
        return refusal(400, "X-GitHub-Delivery is missing or not a GUID.")
    hook_id = headers.get("X-GitHub-Hook-ID", "0")
    if not _NUMBER.fullmatch(hook_id) or int(hook_id) > LARGEST_ID:
        return refusal(400, "X-GitHub-Hook-ID is not a number.")
    if "X-Hub-Signature-256" not in headers:
        return refusal(401, "X-Hub-Signature-256 is missing; a SHA-1 signature is not enough.")
    return None


def receive(
    source: str, headers: Mapping[str, str], body: bytes, *, rules: Rules, committer: Committer, publisher: Offers
) -> Answer:
    """Verify, parse, match, store and publish a delivery that `refuse_unread` let pass; return the answer."""
    secret = matching_secret(body, headers.get("X-Hub-Signature-256"), rules.secrets[source])
    if secret is None:
        return refusal(401, "X-Hub-Signature-256 matches none of this source's secrets.")
    try:
        payload = parse(
            body, content_type=media_type(headers.get("Content-Type", "")), limit_bytes=rules.max_body_bytes
        )
    except PayloadTooLargeError as error:
        return refusal(413, str(error))
    except PayloadError as error:
        return refusal(400, str(error))
    new = _new_delivery(source, headers, body, payload=payload, rules=rules, secret=secret)
    try:
        stored = committer.run(lambda: store(new), stored_bytes=len(body))
    except InboxUnavailableError:
        return refusal(503, "The inbox is not available; try again later.", **{"Retry-After": str(RETRY_AFTER_SECONDS)})
    publisher.offer(stored.to_publish)
    logger.info(
        "delivery repeated" if stored.is_duplicate else "delivery stored",
        extra={"delivery": stored.delivery_id, "event": new.event, "guid": new.guid, "jobs": stored.job_count},
    )
    answer: dict[str, Any] = {"delivery": stored.delivery_id, "jobs": stored.job_count}
    return Answer(200, {**answer, "duplicate": True}) if stored.is_duplicate else Answer(202, answer)


def _new_delivery(
    source: str, headers: Mapping[str, str], body: bytes, *, payload: Mapping[str, Any], rules: Rules, secret: str
) -> NewDelivery:
    summary = summarise(payload)
    event = headers["X-GitHub-Event"]
    return NewDelivery(
        source=source,
        hook_id=int(headers.get("X-GitHub-Hook-ID", "0")),
        guid=uuid.UUID(headers["X-GitHub-Delivery"]),
        event=event,
        action=summary.action,
        repository=summary.repository,
        installation_id=summary.installation_id,
        sender=summary.sender,
        secret_fingerprint=fingerprint(secret, key=rules.fingerprint_key),
        headers={name: headers[name][:LONGEST_HEADER] for name in KEPT_HEADERS if name in headers},
        body=body,
        subscriptions=rules.subscriptions.matching(event, summary.action, payload),
    )


def _guid(value: str) -> uuid.UUID | None:
    # uuid.UUID also takes braces, URNs and stray hyphens, which GitHub never sends.
    return uuid.UUID(value) if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value) else None
