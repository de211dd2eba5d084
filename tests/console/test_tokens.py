"""The page of tokens: made and shown once, revoked, and whose are seen; and a pulled delivery's own page."""

import json
import re
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.support.inbox_rows import EVIL, make_delivery, page
from tests.support.people import ROLELESS, signed_in, user_in
from tests.support.tokens import asked, expire, token_of
from webhooks.inbox import tokens
from webhooks.models import Change, Pull, Token

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NEW = "/tokens/new/"


def made(client: Client, **form: Any) -> str:
    response = client.post(NEW, {"name": "laptop", "days": "30", **form}, follow=True)
    assert response.status_code == 200
    return str(response.content.decode())


def shown_token(text: str) -> str:
    found = re.search(r'id="token">(hookline_[\w-]{43})<', text)
    return found[1] if found else ""


@pytest.mark.parametrize("role", ["operator", "administrator"])
def test_a_token_is_shown_once_and_opens_the_api(role: str) -> None:
    client = signed_in(role)
    response = client.post(NEW, {"name": "laptop", "days": "30"})
    text = shown_token(response.content.decode())
    assert "no-store" in response.headers["Cache-Control"]
    delivery = make_delivery()
    assert asked(f"/api/deliveries/{delivery.guid}", text).status_code == 200
    listed = page(client, "/tokens/")
    assert text not in listed
    assert 'data-state="usable"' in listed
    days = (Token.objects.get().not_after - timezone.now()).days
    assert days in (29, 30)
    assert Change.objects.filter(action="create_token", who=role).exists()
    assert 'href="/tokens/"' in page(client, "/deliveries/")


def test_a_token_is_revoked_and_the_button_is_gone() -> None:
    client = signed_in("operator")
    text = shown_token(made(client))
    token = Token.objects.get()
    assert client.get(f"/tokens/{token.pk}/revoke/").status_code == 405
    assert client.post(f"/tokens/{token.pk}/revoke/").status_code == 302
    shown = page(client, "/tokens/")
    assert 'data-state="revoked"' in shown
    assert f"/tokens/{token.pk}/revoke/" not in shown
    assert asked(f"/api/deliveries/{make_delivery().guid}", text).status_code == 401
    assert Change.objects.filter(action="revoke_token", who="operator").count() == 1


def test_who_may_not_see_payloads_makes_none(settings: Any) -> None:
    client = signed_in("viewer")
    assert NEW not in page(client, "/tokens/")
    assert client.post(NEW, {"name": "laptop", "days": "30"}).status_code == 403
    settings.HOOKLINE_VIEWERS_SEE_PAYLOADS = True
    assert shown_token(made(client))
    nobody = signed_in(ROLELESS)
    assert nobody.get("/tokens/").status_code == 403
    assert nobody.post(NEW, {"name": "laptop", "days": "30"}).status_code == 403
    assert Client().get("/tokens/").status_code == 302


def test_each_user_sees_the_own_and_an_administrator_those_of_all() -> None:
    token_of("operator", name="of the operator")
    theirs = Token.objects.get()
    other = signed_in("viewer")
    assert "of the operator" not in page(other, "/tokens/")
    assert other.post(f"/tokens/{theirs.pk}/revoke/").status_code == 404
    administrator = signed_in("administrator")
    shown = page(administrator, "/tokens/")
    assert "of the operator" in shown
    assert '<td data-label="User">operator</td>' in shown
    administrator.post(f"/tokens/{theirs.pk}/revoke/")
    assert Change.objects.get(action="revoke_token").who == "administrator"


@pytest.mark.parametrize(
    "form", [{"name": ""}, {"name": "x" * 61}, {"days": "0"}, {"days": "3651"}, {"days": "x"}, {"days": "²"}]
)
def test_a_form_that_cannot_be_used_makes_no_token(form: dict[str, str]) -> None:
    assert "No token was made" in made(signed_in("operator"), **form)
    assert not Token.objects.exists()


def test_a_name_is_shown_and_not_run_and_an_old_token_says_so() -> None:
    client = signed_in("operator")
    shown = made(client, name=EVIL)
    assert EVIL not in shown
    assert "&lt;script&gt;" in shown
    expire(Token.objects.get())
    assert 'data-state="expired"' in page(client, "/tokens/")


def test_a_pulled_delivery_says_where_it_comes_from() -> None:
    delivery = make_delivery(secret_fingerprint="")
    values = {"source": "ghes", "received_at": timezone.now(), "who": "bob"}
    Pull.objects.create(delivery=delivery, host=EVIL, **values)
    shown = page(signed_in("viewer"), f"/deliveries/{delivery.pk}/")
    assert EVIL not in shown
    assert "Pulled from &lt;/pre&gt;" in shown
    assert "signature was verified" not in shown
    Pull.objects.update(host="hooks.example.com")
    assert "not signed here: pulled from hooks.example.com" in page(signed_in("viewer"), f"/deliveries/{delivery.pk}/")
    out = StringIO()
    call_command("deliveries", str(delivery.guid), stdout=out)
    assert "by hooks.example.com, source ghes" in out.getvalue()
    out = StringIO()
    call_command("deliveries", str(delivery.guid), "--format", "json", stdout=out)
    assert json.loads(out.getvalue())["deliveries"][0]["pull"]["who"] == "bob"


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("tokens", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_command_makes_lists_and_revokes() -> None:
    user_in("operator")
    text = said("create", "laptop", "--user", "operator", "--days", "7").strip()
    assert tokens.SHAPE.fullmatch(text)
    token = Token.objects.get()
    assert "laptop" in said("list")
    assert text not in said("list", "--format", "json")
    assert "is revoked" in said("revoke", str(token.pk), "--reason", "lost")
    assert "was revoked before" in said("revoke", str(token.pk))
    assert Change.objects.get(action="revoke_token").reason == "lost"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "laptop", "--user", "none"), "no user none"),
        (("create", "laptop", "--user", "viewer"), "may not see payloads"),
        (("create", "laptop", "--user", "operator", "--days", "0"), "--days must be"),
        (("create", "\x1b[2J", "--user", "operator"), "can be printed"),
        (("revoke", "99999999999999999999"), "no token"),
    ],
)
def test_what_the_command_cannot_do_it_says(arguments: tuple[str, ...], sentence: str) -> None:
    user_in("viewer")
    user_in("operator")
    with pytest.raises(CommandError, match=sentence):
        said(*arguments)
