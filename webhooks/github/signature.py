"""GitHub's signature: HMAC-SHA256 over the raw body. No I/O."""

import hmac
import re
from collections.abc import Sequence
from functools import lru_cache

PREFIX = "sha256="
_WELL_FORMED = re.compile(r"sha256=[0-9a-f]{64}")


def sign(body: bytes, secret: str) -> str:
    """Return the value of X-Hub-Signature-256 for `body`."""
    return PREFIX + hmac.digest(secret.encode(), body, "sha256").hex()


def matching_secret(body: bytes, signature: str | None, secrets: Sequence[str]) -> str | None:
    """Return the secret that signed `body`, or None if none of them did.

    `signature` is the value of X-Hub-Signature-256; the SHA-1 header is legacy and never counts.
    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    if signature is None or not _WELL_FORMED.fullmatch(signature):
        return None
    matched = None
    for secret in secrets:  # Always all of them: the time that it takes must not show which one matched.
        if hmac.compare_digest(sign(body, secret), signature):
            matched = matched or secret
    return matched


@lru_cache
def secret_fingerprint(secret: str, *, key: str) -> str:
    """Return 12 hex digits that identify a secret in the inbox and do not reveal it."""
    return hmac.digest(key.encode(), b"webhooks.signature" + secret.encode(), "sha256").hex()[:12]
