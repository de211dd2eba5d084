"""Adds and retires secrets, and encrypts them anew. Each change is in the audit, in its own transaction."""

import secrets
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from webhooks.encryption import EncryptionError, encrypted
from webhooks.inbox import audit
from webhooks.inbox.database import database_time
from webhooks.inbox.secrets.reading import fingerprint_of, value_of
from webhooks.inbox.secrets.standing import KnownSecret, SourceStanding, standing_of
from webhooks.models import Source, SourceSecret
from webhooks.source_secrets import variable_of

NEW_BYTES = 32
SHORTEST, LONGEST = 16, 500
KEYLESS = (
    "No secret can be kept: HOOKLINE_ENCRYPTION_KEYS holds no key. Make one with `openssl rand -base64 32 | tr +/ -_`, "
    "give it to every receiver, and keep it as well as the database's backups."
)


class SecretRefusedError(Exception):
    """A change of a secret that is not made. The message is for the person who asked, and shows no secret."""

    def __init__(self, sentence: str, *, may_be_forced: bool = False) -> None:
        super().__init__(sentence)
        self.may_be_forced = may_be_forced


def new_secret() -> str:
    """Return a random secret, of characters that no shell, URL or form changes."""
    return secrets.token_urlsafe(NEW_BYTES)


def add(source: str, value: str, *, note: str = "", not_after: datetime | None = None, who: str) -> SourceSecret:
    """Keep a secret for a source, encrypted. Receivers verify with it within seconds. Raises SecretRefusedError."""
    if source not in settings.HOOKLINE_SOURCES:
        names = ", ".join(settings.HOOKLINE_SOURCES)
        raise SecretRefusedError(f"There is no source {source}; HOOKLINE_SOURCES has {names}.")
    _check(value)
    fingerprint = fingerprint_of(value)
    try:
        with transaction.atomic():
            row, _ = Source.objects.get_or_create(name=source)
            _check_end(not_after)
            made = SourceSecret.objects.create(
                source=row,
                value=encrypted(value.encode(), settings.HOOKLINE_ENCRYPTION_KEYS),
                fingerprint=fingerprint,
                note=note[:200],
                created_by=who[:150],
                not_after=not_after,
            )
            audit.record("add_secret", who=who, scope=f"secret {fingerprint} of {source}", reason=note)
    except EncryptionError:
        raise SecretRefusedError(KEYLESS) from None
    except IntegrityError:
        raise SecretRefusedError(f"{source} has this secret already, as {fingerprint}.") from None
    return made


def retire(fingerprint: str, *, source: str = "", who: str, reason: str = "", is_forced: bool = False) -> KnownSecret:
    """End a stored secret and erase its value; return what was known of it. Raises SecretRefusedError.

    Refused without `is_forced`: one that matched within a day, and the only one of its source that verifies.
    """
    with transaction.atomic():
        standing, secret = _found(fingerprint, source)
        if secret.row is None:
            variable = variable_of(secret.source)
            raise SecretRefusedError(f"The environment gives {fingerprint}: take it out of {variable} and start anew.")
        refusal = standing.refusal(secret)
        if refusal and not is_forced:
            raise SecretRefusedError(refusal, may_be_forced=True)
        rows = SourceSecret.objects.filter(pk=secret.row.pk, retired_at=None)
        rows.update(retired_at=Now(), retired_by=who[:150], value=b"")
        forced = " (forced)" if refusal else ""
        audit.record("retire_secret", who=who, scope=f"secret {fingerprint} of {secret.source}{forced}", reason=reason)
    return secret


def rotate_keys(*, who: str) -> tuple[int, list[str]]:
    """Encrypt all stored secrets with the first key; return how many, and the fingerprints of those that it cannot.

    Raises SecretRefusedError if there is no key.
    """
    if not settings.HOOKLINE_ENCRYPTION_KEYS:
        raise SecretRefusedError(KEYLESS)
    count, unreadable = 0, []
    with transaction.atomic():
        for row in SourceSecret.objects.select_for_update().filter(retired_at=None).order_by("pk"):
            value = value_of(row.value)
            if value is None:
                unreadable.append(row.fingerprint)
                continue
            row.value = encrypted(value.encode(), settings.HOOKLINE_ENCRYPTION_KEYS)
            row.fingerprint = fingerprint_of(value)
            row.save(update_fields=["value", "fingerprint"])
            count += 1
        audit.record("rotate_keys", who=who, scope=f"{count} secrets, encrypted with the first key")
    return count, unreadable


def _found(fingerprint: str, source: str) -> tuple[SourceStanding, KnownSecret]:
    """Return the secret that is not retired and has this fingerprint. Locks its source: of two, one must stay."""
    names = [source] if source else settings.HOOKLINE_SOURCES
    list(Source.objects.select_for_update().filter(name__in=names).order_by("pk"))
    found = [
        (standing, secret)
        for standing in filter(None, map(standing_of, names))
        for secret in standing.secrets
        if secret.state != "retired" and fingerprint in (secret.fingerprint, secret.row and secret.row.fingerprint)
    ]
    found.sort(key=lambda one: one[1].is_from_environment)
    if not found:
        raise SecretRefusedError(f"There is no secret {fingerprint} here, or it is retired already.")
    if len({standing.name for standing, _ in found}) > 1:
        raise SecretRefusedError(f"Several sources have {fingerprint}: say which, with --source.")
    return found[0]


def _check(value: str) -> None:
    if not SHORTEST <= len(value) <= LONGEST:
        raise SecretRefusedError(f"A secret has {SHORTEST} to {LONGEST} characters.")
    if not value.isprintable() or value != value.strip():
        raise SecretRefusedError("A secret is one line, without blanks at its ends and without control characters.")


def _check_end(not_after: datetime | None) -> None:
    """Raise if it would have ended already, by the database's clock."""
    now = database_time()
    if not_after is not None and now is not None and not_after <= now:
        raise SecretRefusedError("Its end is in the past.")
