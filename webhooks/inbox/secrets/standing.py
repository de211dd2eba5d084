"""How each source's secrets stand: which verify, when each last matched, which may go. For the console and commands.

The environment's secrets are those of the process that asks; receivers of one installation are given the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from webhooks.durations import relative, rough
from webhooks.inbox.database import database_time
from webhooks.inbox.secrets.reading import NO_KEY, environment_secrets, fingerprint_of, value_of
from webhooks.inbox.secrets.uses import Named, uses
from webhooks.models import SecretUse, SourceSecret

IN_USE = timedelta(days=1)
"""A secret that matched within this time is one that GitHub still signs with."""
NEAR = timedelta(days=14)
"""So long before an end there is a warning."""
SILENT = timedelta(days=30)
"""A secret that has not matched for so long is worth a look."""
RETIRED_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSecret:
    """What is known of one secret, but its value."""

    source: str
    fingerprint: str
    row: SourceSecret | None
    """None for a secret that the environment gives."""
    is_readable: bool = True
    since: datetime | None
    last_used_at: datetime | None
    now: datetime

    @property
    def is_from_environment(self) -> bool:
        return self.row is None

    @property
    def not_after(self) -> datetime | None:
        return self.row.not_after if self.row else None

    @property
    def state(self) -> str:
        """Return "current", "unreadable", "ended" or "retired". Only a current one verifies."""
        if self.row and self.row.retired_at:
            return "retired"
        if self.not_after and self.not_after <= self.now:
            return "ended"
        return "current" if self.is_readable else "unreadable"

    @property
    def is_current(self) -> bool:
        return self.state == "current"

    @property
    def is_in_use(self) -> bool:
        return self.last_used_at is not None and self.now - self.last_used_at < IN_USE

    @property
    def silent_for(self) -> timedelta | None:
        """For how long it has not matched; None if no receiver has had it yet."""
        at = self.last_used_at or self.since
        return None if at is None else max(timedelta(), self.now - at)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStanding:
    """One source and its secrets: those of the environment first, then the stored ones, then what was retired."""

    name: str
    secrets: Sequence[KnownSecret]
    last_used_at: datetime | None
    """When any secret of the source last matched, also one that is no longer here."""
    now: datetime

    @property
    def current(self) -> list[KnownSecret]:
        return [secret for secret in self.secrets if secret.is_current]

    @property
    def ends_at(self) -> datetime | None:
        """When the last current secret ends; None if one never does, or none is current."""
        ends = [secret.not_after for secret in self.current]
        known = [end for end in ends if end]
        return max(known) if known and len(known) == len(ends) else None

    @property
    def fault(self) -> str:
        """Return what endangers deliveries: no secret, or the last one ends soon. Empty if nothing does."""
        if not self.current:
            return f"no secret of {self.name} verifies: its deliveries are refused"
        if self.ends_at and self.ends_at - self.now < NEAR:
            return f"the last secret of {self.name} ends {relative(self.ends_at, now=self.now)}"
        return ""

    @property
    def warnings(self) -> list[str]:
        """Return sentences, the worst first."""
        found = [f"{self.fault[:1].upper()}{self.fault[1:]}."] if self.fault else []
        return [*found, *(sentence for secret in self.secrets for sentence in self._warnings_of(secret))]

    def _warnings_of(self, secret: KnownSecret) -> Iterator[str]:
        named = f"Secret {secret.fingerprint}"
        if secret.state == "unreadable":
            yield f"{named} cannot be decrypted: {NO_KEY}. It verifies nothing."
        if not secret.is_current:
            return
        if secret.not_after and secret.not_after != self.ends_at and secret.not_after - self.now < NEAR:
            yield f"{named} ends {relative(secret.not_after, now=self.now)}."
        if secret.silent_for is not None and secret.silent_for >= SILENT:
            yield f"{named} has not matched for {rough(secret.silent_for)}: is it still needed?"

    def is_replaced(self, secret: KnownSecret) -> bool:
        """Tell whether it has not matched for a day, and another one that still verifies has matched since.

        Never of one that has not matched at all: it may be the new one, which GitHub is yet to be given.
        """
        at = secret.last_used_at
        if at is None or secret.is_in_use:
            return False
        others = (other for other in self.current if other is not secret)
        return any(other.last_used_at is not None and other.last_used_at > at for other in others)

    def sentence(self, secret: KnownSecret) -> str:
        """Say of a secret whether GitHub signs with it, and whether it may go."""
        if secret.state == "retired" and secret.row and secret.row.retired_at:
            return f"retired {relative(secret.row.retired_at, now=self.now)} by {secret.row.retired_by}"
        if secret.state == "unreadable":
            return f"cannot be decrypted: {NO_KEY}; it verifies nothing"
        if secret.state == "ended":
            return "has ended, and verifies nothing: safe to remove"
        return self._sentence_of_current(secret)

    def _sentence_of_current(self, secret: KnownSecret) -> str:
        seen, silent = secret.last_used_at, secret.silent_for
        if silent is None:
            return "no receiver has it yet"
        if seen and secret.is_in_use:
            return f"was used {relative(seen, now=self.now)}: GitHub still signs with it"
        if seen and self.is_replaced(secret):
            return f"last seen {relative(seen, now=self.now)}: safe to remove"
        return f"has not matched for {rough(silent)}" if silent >= IN_USE else "has not matched yet"

    def refusal(self, secret: KnownSecret) -> str:
        """Return why the secret should not be retired now; empty if nothing speaks against it."""
        if any(other.fingerprint == secret.fingerprint for other in self.current if other is not secret):
            return ""  # The environment gives the same one.
        if secret.is_current and secret.is_in_use and secret.last_used_at:
            ago = relative(secret.last_used_at, now=self.now)
            return f"It was used {ago}: GitHub still signs with it, and what it signs would be refused."
        if secret.is_current and len(self.current) == 1:
            return f"It is the only secret of {self.name} that verifies: every delivery would be refused."
        return ""


def standings() -> list[SourceStanding]:
    """Return how the secrets of every source stand: the settings' sources first, then others that have stored ones."""
    now, used = database_time() or timezone.now(), uses()
    known = [*_of_environment(used, now), *(_stored(row, used, now) for row in _rows())]
    names = dict.fromkeys([*settings.HOOKLINE_SOURCES, *(one.source for one in known if one.state != "retired")])
    return [_standing(name, known, used, now) for name in names]


def standing_of(source: str) -> SourceStanding | None:
    """Return how the secrets of one source stand; None if there is no such source."""
    return next((one for one in standings() if one.name == source), None)


def _standing(name: str, known: Iterable[KnownSecret], used: dict[Named, SecretUse], now: datetime) -> SourceStanding:
    moments = [use.last_used_at for (source, _), use in used.items() if source == name and use.last_used_at]
    own = [secret for secret in known if secret.source == name]
    return SourceStanding(name=name, secrets=own, last_used_at=max(moments, default=None), now=now)


def _of_environment(used: dict[Named, SecretUse], now: datetime) -> Iterator[KnownSecret]:
    for source, fingerprint in environment_secrets():
        yield _known(source, fingerprint, used, row=None, now=now)


def _rows() -> Iterator[SourceSecret]:
    rows = SourceSecret.objects.select_related("source")
    yield from rows.filter(retired_at=None).order_by("created_at", "pk")
    yield from rows.filter(retired_at__isnull=False).order_by("-retired_at", "-pk")[:RETIRED_SHOWN]


def _stored(row: SourceSecret, used: dict[Named, SecretUse], now: datetime) -> KnownSecret:
    value = None if row.retired_at else value_of(row.value)
    fingerprint = row.fingerprint if value is None else fingerprint_of(value)
    is_readable = value is not None or row.retired_at is not None
    return _known(row.source.name, fingerprint, used, row=row, is_readable=is_readable, now=now)


def _known(source: str, fingerprint: str, used: dict[Named, SecretUse], **values: Any) -> KnownSecret:
    use = used.get((source, fingerprint))
    since, last_used_at = (use.since, use.last_used_at) if use else (None, None)
    return KnownSecret(source=source, fingerprint=fingerprint, since=since, last_used_at=last_used_at, **values)
