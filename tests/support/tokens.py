"""Tokens of people, for tests of the API and of what asks it."""

from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from tests.support.people import user_in
from webhooks.inbox import tokens
from webhooks.models import Token


def token_of(role: str, *, name: str = "laptop") -> str:
    """Make a token for the user with this role; return it."""
    return tokens.make(user_in(role), name=name, days=90, who="a test").text


def asked(path: str, token: str, **options: Any) -> Any:
    """Ask the API; return the response."""
    return Client().get(path, headers={"Authorization": f"Bearer {token}"}, secure=True, **options)


def expire(token: Token) -> None:
    Token.objects.filter(pk=token.pk).update(not_after=timezone.now() - timedelta(seconds=1))
