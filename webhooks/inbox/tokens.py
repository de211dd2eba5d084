"""Makes, recognises and revokes the tokens by which people take deliveries off this installation.

A token is 256 random bits, so nobody guesses one: a wrong one is refused at once, without a lockout or a delay. For the
same reason a plain SHA-256 keeps it safe at rest.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from webhooks.inbox import audit
from webhooks.models import Token

PREFIX = "hookline_"
"""By this, programs that look for leaked secrets find one."""
SHAPE = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
DAYS = 90
MOST_DAYS = 3_650
MOST_TOKENS = 50
"""How many a user may have that can be used."""
LONGEST_NAME = 60
NOTED_EVERY = timedelta(minutes=1)


class TokenRefusedError(Exception):
    """The token opens nothing. The message says why, and shows nothing of the token."""


class TooManyError(Exception):
    """The user has as many tokens as a user may have."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new token. `text` is shown once, and is nowhere else."""

    token: Token
    text: str

    def __repr__(self) -> str:
        return f"Made({self.token})"


def make(user: User, *, name: str, days: int, who: str) -> Made:
    """Make a token for a user, which is good for so many days."""
    text = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        if usable(user).count() >= MOST_TOKENS:
            raise TooManyError
        token = Token.objects.create(
            user=user,
            name=name.strip(),
            digest=_digest(text),
            not_after=timezone.now() + timedelta(days=days),
        )
        audit.record("create_token", who=who, scope=_scope(token), reason=f"good for {days} days")
    return Made(token, text)


def usable(user: User) -> QuerySet[Token]:
    """Return a user's tokens that are neither revoked nor past their time."""
    return Token.objects.filter(user=user, revoked_at=None, not_after__gt=Now())


def revoke(token: Token, *, who: str, reason: str = "") -> bool:
    """Revoke a token at once; return False if it was revoked before."""
    with transaction.atomic():
        if not Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=Now()):
            return False
        audit.record("revoke_token", who=who, scope=_scope(token), reason=reason)
    return True


def recognised(text: str) -> Token:
    """Return the token that this is, with its user, and note that it is used. Raises TokenRefusedError."""
    if not SHAPE.fullmatch(text):
        raise TokenRefusedError(f"That is no token of Hookline's: they begin with {PREFIX}.")
    token = Token.objects.select_related("user").filter(digest=_digest(text)).first()
    if token is None:
        raise TokenRefusedError("This installation does not know the token.")
    if token.revoked_at is not None:
        raise TokenRefusedError("The token is revoked.")
    now = timezone.now()
    if token.not_after <= now:
        raise TokenRefusedError(f"The token was good until {token.not_after:%Y-%m-%d %H:%M} UTC.")
    if not token.user.is_active:
        raise TokenRefusedError("The token's user is not active any more.")
    if token.last_used_at is None or token.last_used_at < now - NOTED_EVERY:
        long_ago = Q(last_used_at=None) | Q(last_used_at__lt=now - NOTED_EVERY)
        Token.objects.filter(long_ago, pk=token.pk).update(last_used_at=Now())
    return token


def state_of(token: Token, *, now: datetime) -> str:
    """Return whether a token can be used: in one word."""
    if token.revoked_at is not None:
        return "revoked"
    return "usable" if token.not_after > now else "expired"


def is_name(text: str) -> bool:
    """Tell whether a token may be called so."""
    return 0 < len(text.strip()) <= LONGEST_NAME and text.isprintable()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _scope(token: Token) -> str:
    return f"token {token.pk} “{token.name}” of {token.user.get_username()}"
