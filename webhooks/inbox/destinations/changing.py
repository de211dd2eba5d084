"""What people change of destinations; each change is recorded, with who and what, and without any secret."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from webhooks.destination_handlers import handler_of
from webhooks.encryption import EncryptionError
from webhooks.inbox import audit
from webhooks.inbox.destinations.sealing import KEYLESS, opened, sealed
from webhooks.models import Destination, Pause

SWITCHED_OFF = "The destination is switched off."


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of a destination as they are to be; None keeps what is stored."""

    headers: Mapping[str, str | None] | None = field(repr=False, default=None)
    """All extra headers; one with None keeps its stored value."""
    signing_secret: str | None = field(repr=False, default=None)


def create(name: str, values: Mapping[str, Any], secrets: Secrets, *, who: str) -> Destination:
    """Make a destination, switched off. Raises IntegrityError if there is one of this name, or EncryptionError."""
    made = Destination(name=name, created_by=who[:150], changed_by=who[:150], **values)
    _set_secrets(made, secrets)
    with transaction.atomic():
        made.save(force_insert=True)
        _pause(made)
        audit.record("create_destination", who=who, scope=_scope(name), reason=_in_words({}, values))
    return made


def change(pk: int, values: Mapping[str, Any], secrets: Secrets, *, who: str) -> Destination | None:
    """Change a destination; None if it is gone. Raises EncryptionError."""
    with transaction.atomic():
        row = Destination.objects.select_for_update().filter(pk=pk).first()
        if row is None:
            return None
        before = {name: getattr(row, name) for name in values}
        for name, value in values.items():
            setattr(row, name, value)
        changed_secrets = _set_secrets(row, secrets)
        row.changed_by, row.changed_at, row.version = who[:150], Now(), F("version") + 1
        row.save(update_fields=[*values, *_SECRET_FIELDS, "changed_by", "changed_at", "version"])
        words = "; ".join(filter(None, (_in_words(before, values), *(f"{what} replaced" for what in changed_secrets))))
        audit.record("change_destination", who=who, scope=_scope(row.name), reason=words or "nothing changed")
    return row


def switch(name: str, *, on: bool, who: str, reason: str = "") -> bool:
    """Switch a destination on or off; tell whether it was the other way. While it is off, its jobs wait."""
    with transaction.atomic():
        changed = Destination.objects.filter(name=name, is_enabled=not on).update(
            is_enabled=on, version=F("version") + 1, changed_at=Now(), changed_by=who[:150]
        )
        if not changed:
            return False
        if on:
            _end_pauses(name, Pause.Kind.OFF, who=who)
        else:
            _pause(Destination.objects.get(name=name))
        action = "switch_on" if on else "switch_off"
        audit.record(action, who=who, scope=_scope(name), reason=reason)
    return True


def delete(name: str, *, who: str, reason: str = "") -> bool:
    """Delete a destination; tell whether there was one. A relay then ends its waiting jobs as dead."""
    with transaction.atomic():
        deleted, _ = Destination.objects.filter(name=name).delete()
        if deleted:
            _end_pauses(name, *Pause.Kind, who=who)
            audit.record("delete_destination", who=who, scope=_scope(name), reason=reason)
    return bool(deleted)


def rotate_keys(*, who: str) -> tuple[int, list[str]]:
    """Encrypt all secrets with the first key; return of how many destinations, and the names of those that it cannot.

    Raises EncryptionError if there is no key.
    """
    if not settings.HOOKLINE_DESTINATION_KEYS:
        raise EncryptionError(KEYLESS)
    count, unreadable = 0, []
    with transaction.atomic():
        for row in Destination.objects.select_for_update().order_by("name"):
            try:
                row.headers, row.signing_secret = (
                    sealed(opened(stored)) if stored else "" for stored in (row.headers, row.signing_secret)
                )
            except EncryptionError:
                unreadable.append(row.name)
                continue
            row.save(update_fields=["headers", "signing_secret"])
            count += 1
        audit.record("rotate_destination_keys", who=who, scope=f"{count} destinations, encrypted with the first key")
    return count, unreadable


_SECRET_FIELDS = ("headers", "header_names", "signing_secret")


def _set_secrets(row: Destination, secrets: Secrets) -> list[str]:
    """Set what is stored of the secrets, and return what of them is new, in words."""
    changed = []
    if secrets.headers is not None:
        kept = stored_headers(row) if None in secrets.headers.values() else {}
        headers = {name: kept[name] if value is None else value for name, value in secrets.headers.items()}
        if headers or row.headers:
            is_same = list(headers) == row.header_names and all(value is None for value in secrets.headers.values())
            changed += [] if is_same else ["headers"]
        row.headers = sealed(orjson.dumps(headers)) if headers else ""
        row.header_names = list(headers)
    if secrets.signing_secret is not None:
        row.signing_secret = sealed(secrets.signing_secret.encode()) if secrets.signing_secret else ""
        changed.append("signing secret")
    return changed


def stored_headers(row: Destination) -> dict[str, str]:
    """Return the extra headers in plain. Raises EncryptionError."""
    if not row.headers:
        return {}
    headers: dict[str, str] = orjson.loads(opened(row.headers))
    return headers


def _pause(row: Destination) -> None:
    Pause.objects.get_or_create(
        queue="", handler=row.handler, kind=Pause.Kind.OFF, resumed_at=None,
        defaults={"reason": SWITCHED_OFF, "paused_by": row.changed_by},
    )  # fmt: skip


def _end_pauses(name: str, *kinds: Pause.Kind, who: str) -> None:
    held = Pause.objects.filter(queue="", handler=handler_of(name), kind__in=kinds, resumed_at=None)
    held.update(resumed_at=Now(), resumed_by=who[:150])


def _scope(name: str) -> str:
    return f"destination {name}"


def _in_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what is new. Of a URL only its host: its path may be a secret."""
    changed = {name: value for name, value in after.items() if name not in before or before[name] != value}
    return "; ".join(f"{name}: {_shown(name, value)}" for name, value in changed.items())


def _shown(name: str, value: Any) -> str:
    if name == "url":
        return origin_of(value)
    if isinstance(value, (dict, list)):
        return orjson.dumps(value).decode()
    return str(value)


def origin_of(url: str) -> str:
    """Return scheme and host of a URL, which is all of it that everybody may see."""
    return "/".join(url.split("/", 3)[:3])
