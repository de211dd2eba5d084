"""What happens to a webhook, in order: verify, parse, match, store, publish. Start reading Hookline here.

    check_head     checks before the body is read: method, length, type, headers
    verified       verify, parse, match
    acknowledged   after the commit: publish, and the reply

All take values, and return values or raise RefusedError. Between the last two, `deliveries.py` has small deliveries
committed together; `receive` does all of it for one. HTTP is in `front.py`, what is kept of a request in
`inbox/sent.py`, storage in `inbox/store.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from webhooks.github.payload import FORM, FORM_GROWTH, JSON, PayloadError, PayloadTooLargeError, media_type, parse
from webhooks.github.signature import matching_secret, secret_fingerprint
from webhooks.inbox.committer import Committer, InboxUnavailableError
from webhooks.inbox.encoded_secret import HEADER as HEADER_WITH_SECRET
from webhooks.inbox.encoded_secret import alarm
from webhooks.inbox.new_delivery import JobToPublish, NewDelivery, Stored
from webhooks.inbox.sent import Sent, delivery_of, fault_of
from webhooks.inbox.store import store
from webhooks.inbox.stored_log import log_stored
from webhooks.receiver.body_length import Announced, announced_body
from webhooks.receiver.replies import RefusedError, Reply
from webhooks.subscriptions.subscription import Subscriptions
from webhooks.traces.context import HEADER

RETRY_AFTER_SECONDS = 5


class Offers(Protocol):
    """Takes committed jobs for the broker, without blocking."""

    def offer(self, jobs: tuple[JobToPublish, ...]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a delivery is checked against: each source's current secrets, the subscriptions, the size limit."""

    secrets: Mapping[str, Sequence[str]]
    fingerprint_key: str
    subscriptions: Subscriptions
    max_body_bytes: int
    are_secrets_known: Callable[[], bool] = lambda: True
    """Tells whether `secrets` has all of them. After a start without the database it has not."""
    are_subscriptions_known: Callable[[], bool] = lambda: True
    """Tells whether `subscriptions` has those of destinations, which are read from the database."""
    note_use: Callable[[str, str], None] = lambda _source, _fingerprint: None
    """Called with the source and the fingerprint of each secret that matched."""
    refuses_sender: Callable[[str, str, str], bool] = lambda _source, _peer, _forwarded: False
    """Tells whether a source's delivery is refused for its peer's address and its X-Forwarded-For."""


def check_head(method: str, source: str, headers: Mapping[str, str], rules: Rules, *, peer: str = "") -> Announced:
    """Return the announced body, or raise RefusedError if the request can be refused before its body is read.

    `headers` finds names in any case; `peer` is the address at the other end of the connection.
    """
    if source not in rules.secrets:
        raise RefusedError(404, "No such source.")
    if method != "POST":
        raise RefusedError(405, "Only POST is answered here.", Allow="POST")
    if rules.refuses_sender(source, peer, headers.get("X-Forwarded-For", "")):
        raise RefusedError(403, "Deliveries are taken only from the addresses of this source's GitHub.")
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
    if fault := fault_of(headers):
        raise RefusedError(400, fault)
    if "X-Hub-Signature-256" not in headers:
        raise RefusedError(401, "X-Hub-Signature-256 is missing; a SHA-1 signature is not enough.")


def verified(source: str, headers: Mapping[str, str], body: bytes, rules: Rules) -> NewDelivery:
    """Verify, parse and match a delivery that `check_head` has accepted, or raise RefusedError."""
    secret = matching_secret(body, headers.get("X-Hub-Signature-256"), rules.secrets[source])
    if secret is None:
        raise _unverified(rules)
    fingerprint = secret_fingerprint(secret, key=rules.fingerprint_key)
    rules.note_use(source, fingerprint)
    if HEADER_WITH_SECRET in headers:
        alarm(source)
    if not rules.are_subscriptions_known():  # It may be for one that was not read yet, and would never be sent there.
        raise unavailable()
    try:
        payload = parse(body, content_type=headers.get("Content-Type", ""), limit_bytes=rules.max_body_bytes)
        return delivery_of(
            Sent(source=source, headers=headers, body=body, payload=payload),
            rules.subscriptions,
            secret_fingerprint=fingerprint,
        )
    except PayloadTooLargeError as error:
        raise RefusedError(413, str(error)) from None
    except PayloadError as error:
        raise RefusedError(400, str(error)) from None


def _unverified(rules: Rules) -> RefusedError:
    if not rules.are_secrets_known():  # It may be signed with one that was not read yet.
        return unavailable()
    return RefusedError(401, "X-Hub-Signature-256 matches none of this source's secrets.")


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
