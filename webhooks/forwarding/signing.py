"""The headers that sign what is sent to a destination, in the scheme that it has asked for. No I/O."""

import hashlib
from datetime import UTC, datetime

from standardwebhooks import Webhook

from webhooks.destination_handlers import is_standard_secret
from webhooks.github.signature import sign
from webhooks.models import Destination

Signing = Destination.Signing


def signed(body: bytes, *, scheme: str, secret: str, key: str, at: datetime) -> dict[str, str]:
    """Return the headers that sign a body. `key` is the same in every attempt; so is the id that is made of it."""
    if scheme == Signing.GITHUB:
        return {"X-Hub-Signature-256": sign(body, secret)}
    if scheme == Signing.STANDARD:
        return _standard(body, secret=secret, key=key, at=at)
    return {}


def _standard(body: bytes, *, secret: str, key: str, at: datetime) -> dict[str, str]:
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    if not is_standard_secret(secret):
        raise ValueError("The secret is none of Standard Webhooks.")
    message = f"msg_{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    at = at.astimezone(UTC).replace(microsecond=0)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message, at, body.decode()),
    }
