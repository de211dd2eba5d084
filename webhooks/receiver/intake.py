"""What happens to a webhook, in order: verify, parse, match, store, publish. Start reading Hookline here.

    check_head     checks before the body is read: method, length, type, headers
    verified       verify, parse, match
    acknowledged   after the commit: publish, and the reply

All take values, and return values or raise RefusedError. Between the last two, `deliveries.py` has small deliveries
committed together; `receive` does all of it for one. HTTP is in `front.py`, storage in `inbox/store.py`. The rules on
headers are GitHub's:
https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from webhooks.github.signature import matching_secret, secret_fingerprint
from webhooks.inbox.committer import Committer, InboxUnavailableError
from webhooks.inbox.new_delivery import JobToPublish, NewDelivery, Stored
from webhooks.inbox.store import store
from webhooks.inbox.stored_log import log_stored
from webhooks.receiver.body_length import Announced, announced_body
from webhooks.receiver.replies import RefusedError, Reply
from webhooks.subscriptions.subscription import Subscriptions
from webhooks.traces.context import HEADER, is_valid

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
"""The request headers that are stored. No others: GitHub has sent a header with the webhook's secret."""
LONGEST_HEADER = 200

_NUMBER = re.compile(r"[0-9]{1,19}")
# uuid.UUID also takes braces, URNs and stray hyphens, which GitHub never sends.
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Offers(Protocol):
    """Takes committed jobs for the broker, without blocking."""

    def offer(self, jobs: tuple[JobToPublish, ...]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a delivery is checked against: each source's current secrets, the subscriptions, the size limit."""

    secrets: Mapping[str, list[str]]
    fingerprint_key: str
    subscriptions: Subscriptions
    max_body_bytes: int


def check_head(method: str, source: str, headers: Mapping[str, str], rules: Rules) -> Announced:
    """Return the announced body, or raise RefusedError if the request can be refused before its body is read.

    `headers` finds names in any case.
    """
    if source not in rules.secrets:
        raise RefusedError(404, "No such source.")
    if method != "POST":
        raise RefusedError(405, "Only POST is answered here.", Allow="POST")
    if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
        raise RefusedError(411, "A Content-Length header is required, or a chunked body.")
    content_type = media_type(headers.get("Content-Type", ""))
    if content_type not in (JSON, FORM):
        raise RefusedError(415, f"The content type must be {JSON} or {FORM}.")
    growth = FORM_GROWTH if content_type == FORM else 1
    announced = announced_body(headers, limit=rules.max_body_bytes * growth)
    _check_github_headers(headers)
    return announced


def _check_github_headers(headers: Mapping[str, str]) -> None:
    if not EVENT_NAME.fullmatch(headers.get("X-GitHub-Event", "")):
        raise RefusedError(400, "X-GitHub-Event is missing or not an event's name.")
    if not _GUID.fullmatch(headers.get("X-GitHub-Delivery", "")):
        raise RefusedError(400, "X-GitHub-Delivery is missing or not a GUID.")
    hook_id = headers.get("X-GitHub-Hook-ID", "0")
    if not _NUMBER.fullmatch(hook_id) or int(hook_id) > LARGEST_ID:
        raise RefusedError(400, "X-GitHub-Hook-ID is not a number.")
    if "X-Hub-Signature-256" not in headers:
        raise RefusedError(401, "X-Hub-Signature-256 is missing; a SHA-1 signature is not enough.")


def verified(source: str, headers: Mapping[str, str], body: bytes, rules: Rules) -> NewDelivery:
    """Verify, parse and match a delivery that `check_head` has accepted, or raise RefusedError."""
    secret = matching_secret(body, headers.get("X-Hub-Signature-256"), rules.secrets[source])
    if secret is None:
        raise RefusedError(401, "X-Hub-Signature-256 matches none of this source's secrets.")
    try:
        payload = parse(body, content_type=headers.get("Content-Type", ""), limit_bytes=rules.max_body_bytes)
    except PayloadTooLargeError as error:
        raise RefusedError(413, str(error)) from None
    except PayloadError as error:
        raise RefusedError(400, str(error)) from None
    return _new_delivery(source, headers, body, payload=payload, rules=rules, secret=secret)


def receive(
    source: str, headers: Mapping[str, str], body: bytes, *, rules: Rules, committer: Committer, publisher: Offers
) -> Reply:
    """Take in a delivery that `check_head` let pass, in a transaction of its own, or raise RefusedError."""
    new = verified(source, headers, body, rules)
    return acknowledged(new, stored_by_itself(new, committer), publisher)


def stored_by_itself(new: NewDelivery, committer: Committer) -> Stored:
    """Commit a delivery in a transaction of its own, or raise RefusedError."""
    try:
        stored = committer.run(lambda: store(new), stored_bytes=len(new.body))
    except InboxUnavailableError:
        raise unavailable() from None
    log_stored([(new, stored)])
    return stored


def unavailable() -> RefusedError:
    return RefusedError(
        503, "The inbox is not available; try again later.", **{"Retry-After": str(RETRY_AFTER_SECONDS)}
    )


def acknowledged(new: NewDelivery, stored: Stored, publisher: Offers) -> Reply:
    """Offer the jobs of a committed delivery to the broker, and return the reply."""
    jobs = stored.to_publish
    if traceparent := new.headers.get(HEADER):
        jobs = tuple(replace(job, traceparent=traceparent) for job in jobs)
    publisher.offer(jobs)
    body: dict[str, Any] = {"delivery": stored.delivery_id, "jobs": stored.job_count}
    return Reply(200, {**body, "duplicate": True}) if stored.is_duplicate else Reply(202, body)


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
        secret_fingerprint=secret_fingerprint(secret, key=rules.fingerprint_key),
        headers=_kept(headers),
        body=body,
        subscriptions=rules.subscriptions.matching(event, summary.action, payload),
    )


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers to store: also the trace that the request is part of, or that the front has begun for it."""
    kept = {name: headers[name][:LONGEST_HEADER] for name in KEPT_HEADERS if name in headers}
    traceparent = headers.get(HEADER, "")
    return {**kept, HEADER: traceparent} if is_valid(traceparent) else kept
