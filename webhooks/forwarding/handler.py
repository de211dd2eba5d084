"""A run of a destination's job: what is sent, and what the answer means for the job and for the breaker."""

import http
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from billiard.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import Error, connection

from webhooks.destination_handlers import NotForwardedError
from webhooks.forwarding.network import AddressRefusedError
from webhooks.forwarding.sending import Answer, UnreachableError, post
from webhooks.forwarding.signing import signed
from webhooks.inbox import database
from webhooks.inbox.claimed_event import idempotency_key
from webhooks.inbox.destinations import breaker
from webhooks.inbox.destinations.running import Forwarded, Target
from webhooks.subscriptions.event import RetryLater

TRIED_AGAIN = frozenset({408, 425, 429})
"""Refusals that another attempt may not meet; all others of 4xx are final."""
PUT_OFF = frozenset({429, 503})
LONGEST_PUT_OFF_SECONDS = 86_400.0


def forward(forwarded: Forwarded) -> str:
    """Send a delivery to its destination, and return the answer in words; raise what it means otherwise."""
    try:
        answer = _post(forwarded)
    except AddressRefusedError:
        raise NotForwardedError(_REFUSED, kind="address", is_final=True) from None
    except (UnreachableError, SoftTimeLimitExceeded) as error:
        why = str(error) if isinstance(error, UnreachableError) else "No answer in time."
        _note_failure(forwarded, why)
        raise NotForwardedError(why, kind="no answer") from None
    return _meaning(forwarded, replace(answer, text=_masked(answer.text, forwarded.target)))


_REFUSED = (
    "The host has an address that is not public, and this destination may have only public ones. "
    "An administrator can allow private addresses to it."
)


def _post(forwarded: Forwarded) -> Answer:
    target = forwarded.target
    try:
        headers = headers_of(forwarded, at=datetime.now(UTC))
    except (ValueError, RuntimeError):  # Also: a body that is no UTF-8, which this scheme cannot sign.
        raise NotForwardedError(
            "It cannot be signed: the secret does not fit the scheme.", kind="signing", is_final=True
        ) from None
    try:
        return post(
            target.url,
            headers=headers,
            body=forwarded.body,
            seconds=target.time_limit,
            allow_private=target.allow_private,
        )
    except httpx.InvalidURL:
        raise NotForwardedError("The destination's URL is not valid.", kind="url", is_final=True) from None


def headers_of(forwarded: Forwarded, *, at: datetime) -> dict[str, str]:
    """Return what is sent with the body: GitHub's headers, the signature, and the destination's own."""
    target, job = forwarded.target, forwarded.job
    key = idempotency_key(job)
    own = {
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Type": job.content_type or "application/json",
        "User-Agent": f"Hookline/{settings.HOOKLINE_RELEASE}",
        "X-GitHub-Event": job.event,
        "X-GitHub-Delivery": str(job.guid),
        "Idempotency-Key": key,
    }
    if job.hook_id:
        own["X-GitHub-Hook-ID"] = str(job.hook_id)
    signature = signed(forwarded.body, scheme=target.signing, secret=target.signing_secret, key=key, at=at)
    return {**target.headers, **own, **signature}


def _masked(text: str, target: Target) -> str:
    """Return what a target has answered, without the secrets that it may have repeated."""
    for secret in (target.signing_secret, target.url, *target.headers.values()):
        text = text.replace(secret, "•••") if secret else text
    return text


def _meaning(forwarded: Forwarded, answer: Answer) -> str:
    """Return what the answer says if the delivery is taken; else raise what becomes of the job."""
    name, job = forwarded.target.name, forwarded.job
    words = f"{answer.status} in {_duration(answer.seconds)}"
    if 200 <= answer.status < 300:
        _note(lambda: breaker.succeeded(name))
        return f"{words}: {answer.text}" if answer.text else words
    wait = retry_after(answer.retry_after, now=datetime.now(UTC)) if answer.status in PUT_OFF else None
    if wait is not None:
        _note(lambda: breaker.put_off(name, job_id=job.pk, seconds=wait))
        raise RetryLater(f"{words}; the target asks to wait {wait:.0f} s.", after=wait)
    why = f"{words} ({_phrase(answer.status)})."
    if answer.status >= 500:
        _note_failure(forwarded, why)
    else:
        _note(lambda: breaker.answered(name))
    is_final = answer.status < 500 and answer.status not in TRIED_AGAIN
    raise NotForwardedError(why, kind=f"status {answer.status}", is_final=is_final, answer=answer.text)


def retry_after(value: str, *, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date; None if it is neither."""
    if value.isascii() and value.isdecimal() and len(value) < 10:
        return min(float(value), LONGEST_PUT_OFF_SECONDS)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(0.0, (at - now).total_seconds()), LONGEST_PUT_OFF_SECONDS)


def _phrase(status: int) -> str:
    if 300 <= status < 400:
        return "a redirect, which is not followed: set the URL that it leads to"
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "no known status"


def _duration(seconds: float) -> str:
    return f"{seconds * 1_000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _note_failure(forwarded: Forwarded, why: str) -> None:
    _note(lambda: breaker.failed(forwarded.target.name, job_id=forwarded.job.pk, why=why))


def _note(change: Callable[[], None]) -> None:
    """Tell the breaker. The request is sent: that the database is away for a moment must not have it sent again."""
    try:
        database.run(change)
    except Error as error:
        if not database.is_outage(error):
            raise
        connection.close()
