"""Who may call the API: a token is known, revoked, past its time or without rights; and nothing else opens it."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests.support.inbox_rows import make_delivery
from tests.support.people import ROLELESS, signed_in, user_in
from tests.support.tokens import asked, expire, token_of
from webhooks.inbox import database, tokens
from webhooks.models import Change, Token

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

ANY = f"/api/deliveries/{uuid.UUID(int=7)}"


def refused(response: Any, status: int) -> str:
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    assert "no-store" in response.headers["Cache-Control"]
    return str(response.json()["error"])


def test_without_a_token_nothing_is_said_of_what_is_here() -> None:
    delivery = make_delivery()
    for path in (ANY, f"/api/deliveries/{delivery.guid}", "/api/pull-requests/acme/widgets/7"):
        response = Client().get(path, secure=True)
        assert "Give a token" in refused(response, 401)
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_session_of_the_console_opens_nothing() -> None:
    assert "Give a token" in refused(signed_in("operator").get(ANY, secure=True), 401)


@pytest.mark.parametrize("text", ["hookline_" + "A" * 43, "ghp_" + "A" * 36, "hookline_B", "é" * 9])
def test_what_is_no_token_of_ours_is_refused_and_not_shown(text: str) -> None:
    sentence = refused(asked(ANY, text), 401)
    assert text not in sentence


def test_another_scheme_is_refused() -> None:
    response = Client().get(ANY, headers={"Authorization": f"Basic {token_of('operator')}"}, secure=True)
    assert "Bearer" in refused(response, 401)


def test_a_token_is_refused_once_it_is_revoked_and_that_is_recorded_once() -> None:
    text = token_of("operator")
    assert asked(ANY, text).status_code == 404
    assert tokens.revoke(Token.objects.get(), who="ana", reason="the laptop is lost")
    assert not tokens.revoke(Token.objects.get(), who="bob")
    assert refused(asked(ANY, text), 401) == "The token is revoked."
    made, revoked = Change.objects.order_by("pk")
    assert (made.action, made.who) == ("create_token", "a test")
    assert (revoked.action, revoked.who, revoked.reason) == ("revoke_token", "ana", "the laptop is lost")
    assert "“laptop” of operator" in revoked.scope
    assert text not in made.scope + made.reason + revoked.scope


def test_a_token_is_refused_after_its_time() -> None:
    text = token_of("operator")
    expire(Token.objects.get())
    assert "The token was good until" in refused(asked(ANY, text), 401)


def test_a_token_has_the_rights_that_its_user_has_now(settings: Any) -> None:
    text = token_of("operator")
    user = User.objects.get()
    user.groups.clear()
    assert "operator may not see payloads" in refused(asked(ANY, text), 403)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert "not active" in refused(asked(ANY, text), 401)
    user.delete()
    assert "does not know" in refused(asked(ANY, text), 401)


def test_a_viewer_takes_payloads_only_where_viewers_see_them(settings: Any) -> None:
    text = token_of("viewer")
    refused(asked(ANY, text), 403)
    settings.HOOKLINE_VIEWERS_SEE_PAYLOADS = True
    assert asked(ANY, text).status_code == 404
    refused(asked(ANY, token_of(ROLELESS)), 403)


def test_the_last_use_is_written_at_most_once_a_minute() -> None:
    text = token_of("operator")
    asked(ANY, text)
    first = Token.objects.get().last_used_at
    assert first is not None
    asked(ANY, text)
    assert Token.objects.get().last_used_at == first
    long_ago = timezone.now() - timedelta(seconds=61)
    Token.objects.update(last_used_at=long_ago)
    asked(ANY, text)
    again = Token.objects.get().last_used_at
    assert again is not None
    assert again > long_ago


def test_the_token_itself_is_nowhere_in_the_database() -> None:
    made = tokens.make(user_in("operator"), name="laptop", days=1, who="a test")
    assert made.text not in repr(made)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM webhooks_token")
        assert made.text.removeprefix(tokens.PREFIX) not in str(cursor.fetchall())


def test_nothing_but_get_is_answered_and_no_other_page_is_there() -> None:
    text = token_of("operator")
    headers = {"Authorization": f"Bearer {text}"}
    response = Client(enforce_csrf_checks=True).post(ANY, headers=headers, secure=True)
    assert "Only GET" in refused(response, 405)
    assert "no such page" in refused(asked("/api/tokens", text), 404)
    assert "no such page" in refused(asked("/api/deliveries/7", text), 404)


def test_a_user_keeps_no_more_than_so_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MOST_TOKENS", 2)
    token_of("operator")
    token_of("operator")
    with pytest.raises(tokens.TooManyError):
        token_of("operator")
    tokens.revoke(Token.objects.latest("pk"), who="ana")
    token_of("operator")


def test_a_database_that_is_away_is_said_honestly(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def away(_text: str) -> Token:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(tokens, "recognised", away)
    monkeypatch.setattr(database, "drop", lambda: None)  # The test's own transaction is on the connection.
    response = asked(ANY, "hookline_" + "A" * 43)
    assert "The database" in refused(response, 503)
    assert response.headers["Retry-After"]
