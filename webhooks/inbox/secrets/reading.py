"""Reads the secrets that are kept in the database, and decrypts them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models.functions import Now

from webhooks.encryption import EncryptionError, decrypted
from webhooks.github.signature import secret_fingerprint
from webhooks.models import SourceSecret

NO_KEY = "HOOKLINE_ENCRYPTION_KEYS has not the key that it was encrypted with"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """One secret that was not retired. It never shows its value."""

    pk: int
    source: str
    fingerprint: str
    value: str | None = field(repr=False)
    """None if it cannot be decrypted."""
    not_after: datetime | None
    seconds_left: float | None
    """Until `not_after`, by the database's clock, as it was read; None if it never ends."""


def stored_secrets() -> list[StoredSecret]:
    """Return the secrets of all sources that were not retired, the oldest first; also those that have ended."""
    rows = SourceSecret.objects.filter(retired_at=None).annotate(now=Now()).select_related("source")
    return [_stored(row) for row in rows.order_by("created_at", "pk")]


def value_of(token: bytes | memoryview) -> str | None:
    """Decrypt what is stored; None if none of the keys can."""
    try:
        return decrypted(bytes(token), settings.HOOKLINE_ENCRYPTION_KEYS).decode()
    except EncryptionError:
        return None


def fingerprint_of(value: str) -> str:
    return secret_fingerprint(value, key=settings.SECRET_KEY)


def environment_secrets() -> Iterable[tuple[str, str]]:
    """Yield the source and the fingerprint of each secret that the environment gives."""
    for source, secrets in settings.HOOKLINE_SECRETS.items():
        for secret in dict.fromkeys(secrets):
            yield source, fingerprint_of(secret)


def _stored(row: Any) -> StoredSecret:
    value = value_of(row.value)
    return StoredSecret(
        pk=row.pk,
        source=row.source.name,
        # What is stored was made with the SECRET_KEY of that time; deliveries are marked with today's.
        fingerprint=row.fingerprint if value is None else fingerprint_of(value),
        value=value,
        not_after=row.not_after,
        seconds_left=None if row.not_after is None else (row.not_after - row.now).total_seconds(),
    )
