"""Signing in and out, by password and through an identity provider, and what stands in the way of guessing."""

import importlib
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client, RequestFactory
from django.urls import clear_url_caches

from tests.support import identity_provider
from tests.support.identity_provider import Provider
from tests.support.people import EVERYBODY, ROLELESS, signed_in, user_in
from webhooks.console.sign_in import client_address

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

PASSWORD = "a password that is long enough"


@pytest.fixture
def ana() -> User:
    user = user_in("operator")
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(client: Client, name: str, password: str, **headers: str) -> int:
    return client.post("/sign-in/", {"username": name, "password": password, "next": "/jobs/"}, **headers).status_code  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", ["/", "/deliveries/", "/jobs/", "/dead/", "/replays/", "/recovery/", "/queues/", "/workers/"]
)
def test_who_is_not_signed_in_is_asked_to_and_comes_back(ana: User, path: str) -> None:
    client = Client()
    reply = client.get(path)
    assert (reply.status_code, reply.headers["Location"]) == (302, f"/sign-in/?next={path}")
    form = {"username": ana.username, "password": PASSWORD, "next": path}
    reply = client.post("/sign-in/", form)
    assert (reply.status_code, reply.headers["Location"]) == (302, path)
    assert client.get(path).status_code == 200


def test_nobody_is_sent_to_another_site_after_signing_in(ana: User) -> None:
    form = {"username": ana.username, "password": PASSWORD, "next": "https://evil.example/"}
    assert Client().post("/sign-in/", form).headers["Location"] == "/"


@pytest.mark.parametrize("role", EVERYBODY)
def test_every_role_sees_the_pages_and_who_has_none_sees_none(role: str) -> None:
    client = signed_in(role)
    for path in ("/", "/deliveries/", "/jobs/", "/dead/", "/replays/", "/recovery/", "/queues/", "/workers/"):
        assert client.get(path).status_code == (403 if role == ROLELESS else 200), path


def test_the_menu_has_only_pages_that_the_user_may_see() -> None:
    assert b'href="/workers/"' in signed_in("viewer").get("/").content
    Group.objects.get(name="viewer").permissions.remove(
        *Group.objects.get(name="viewer").permissions.filter(codename="view_workerreport")
    )
    assert b'href="/workers/"' not in signed_in("viewer").get("/").content


@pytest.mark.parametrize("role", EVERYBODY)
def test_only_administrators_see_users_in_the_admin(role: str) -> None:
    user = user_in(role)
    user.is_staff = True
    user.save()
    assert signed_in(role).get("/admin/auth/user/").status_code == (200 if role == "administrator" else 403)


def test_the_admin_has_no_form_of_its_own() -> None:
    client = Client()
    assert client.get("/admin/").headers["Location"] == "/admin/login/?next=/admin/"
    assert client.get("/admin/login/?next=/admin/").headers["Location"] == "/sign-in/?next=%2Fadmin%2F"
    assert signed_in("viewer").get("/admin/login/?next=/admin/").status_code == 403


def test_signing_out_is_by_a_form_alone() -> None:
    client = signed_in("viewer")
    assert client.get("/sign-out/").status_code == 405
    assert client.get("/").status_code == 200
    client.post("/sign-out/")
    assert client.get("/").status_code == 302


def test_a_user_changes_the_own_password(ana: User) -> None:
    client, new = Client(), "another password, also long"
    sign_in(client, ana.username, PASSWORD)
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert client.post("/password/", form | {"old_password": "wrong"}).status_code == 200
    assert client.post("/password/", form).headers["Location"] == "/"
    assert client.get("/").status_code == 200
    assert sign_in(Client(), ana.username, new) == 302


# --- Guessing ---------------------------------------------------------------------------------------------------------


def test_after_five_wrong_passwords_the_right_one_is_refused_too(ana: User) -> None:
    for _ in range(4):
        assert sign_in(Client(), ana.username, "wrong") == 200
    assert sign_in(Client(), ana.username, "wrong") == 429
    assert sign_in(Client(), ana.username, PASSWORD) == 429
    assert b"has failed 5 times" in Client().post("/sign-in/", {"username": ana.username, "password": PASSWORD}).content


def test_who_guesses_locks_out_neither_another_address_nor_another_name(ana: User, settings: Any) -> None:
    settings.HOOKLINE_BEHIND_PROXY = True
    guesser, own = {"headers": {"x-forwarded-for": "198.51.100.7"}}, {"headers": {"x-forwarded-for": "203.0.113.9"}}
    for _ in range(6):
        sign_in(Client(), ana.username, "wrong", **guesser)  # type: ignore[arg-type]
    assert sign_in(Client(), ana.username, PASSWORD, **guesser) == 429  # type: ignore[arg-type]
    assert sign_in(Client(), ana.username, PASSWORD, **own) == 302  # type: ignore[arg-type]
    assert sign_in(Client(), "somebody else", "wrong", **guesser) == 200  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("forwarded", "is_behind_proxy", "address"),
    [
        ("198.51.100.7", True, "198.51.100.7"),
        ("192.0.2.1, 198.51.100.7", True, "198.51.100.7"),
        ("", True, "127.0.0.1"),
        ("198.51.100.7", False, "127.0.0.1"),
    ],
)
def test_only_the_proxys_own_word_on_an_address_counts(
    settings: Any, forwarded: str, is_behind_proxy: bool, address: str
) -> None:
    settings.HOOKLINE_BEHIND_PROXY = is_behind_proxy
    assert client_address(RequestFactory().get("/", headers={"x-forwarded-for": forwarded})) == address


# --- What every page carries ------------------------------------------------------------------------------------------


def test_every_page_has_a_strict_policy_and_none_is_kept_by_a_cache() -> None:
    for client, path in ((Client(), "/sign-in/"), (signed_in("viewer"), "/"), (signed_in("administrator"), "/admin/")):
        reply = client.get(path)
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "no-store" in reply.headers["Cache-Control"]
        assert reply.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(("path", "status"), [("/nothing/here/", 404), ("/workers/", 403)])
def test_an_error_is_a_page_with_the_way_back(path: str, status: int) -> None:
    reply = signed_in(ROLELESS).get(path)
    assert reply.status_code == status
    assert b"To the console" in reply.content


# --- The identity provider --------------------------------------------------------------------------------------------


@pytest.fixture
def provider(settings: Any) -> Iterator[Provider]:
    pytest.importorskip("mozilla_django_oidc", reason="the extra is not installed: requirements-oidc.lock")
    with identity_provider.serving() as provider:
        settings.HOOKLINE_OIDC = True
        settings.HOOKLINE_OIDC_ROLES = {"sre": "operator", "leads": "administrator", "everybody": "viewer"}
        settings.OIDC_RP_CLIENT_ID, settings.OIDC_RP_CLIENT_SECRET = identity_provider.CLIENT, identity_provider.SECRET
        settings.OIDC_OP_AUTHORIZATION_ENDPOINT = f"{provider.url}/authorize"
        settings.OIDC_OP_TOKEN_ENDPOINT = f"{provider.url}/token"
        settings.OIDC_OP_USER_ENDPOINT = f"{provider.url}/user"
        settings.OIDC_OP_JWKS_ENDPOINT = f"{provider.url}/keys"
        settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, "webhooks.console.identity.Provider"]
        _reload_urls()
        yield provider
    settings.HOOKLINE_OIDC = False
    _reload_urls()


def _reload_urls() -> None:
    importlib.reload(sys.modules["project.urls"])
    clear_url_caches()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        return None


def through(provider: Provider, client: Client, wanted: str = "/jobs/") -> str:
    """Sign in as a browser does, and return where it is sent at the end."""
    away = client.get(f"/oidc/authenticate/?next={wanted}").headers["Location"]
    assert away.startswith(f"{provider.url}/authorize?")
    try:
        urllib.request.build_opener(_Stay).open(away)
    except urllib.error.HTTPError as answer:
        back = answer.headers["Location"]
        answer.close()
    return client.get(back.removeprefix("http://testserver")).headers["Location"]


def test_the_organisations_sign_in_gives_the_roles_of_the_persons_groups(provider: Provider) -> None:
    client = Client()
    assert b"/oidc/authenticate/?next=/jobs/" in client.get("/sign-in/?next=/jobs/").content
    assert through(provider, client).endswith("/jobs/")
    user = User.objects.get(username="oidc:ana@example.com")
    assert [group.name for group in user.groups.all()] == ["operator"]
    assert not user.is_staff
    assert client.get("/jobs/").status_code == 200
    assert not user.has_usable_password()


def test_a_person_who_has_left_a_group_has_lost_its_role_at_the_next_sign_in(provider: Provider) -> None:
    through(provider, Client())
    provider.claims["groups"] = ["everybody", "leads"]
    through(provider, Client())
    user = User.objects.get(username="oidc:ana@example.com")
    assert sorted(group.name for group in user.groups.all()) == ["administrator", "viewer"]
    assert user.is_staff
    provider.claims["groups"] = ["everybody"]
    through(provider, Client())
    user.refresh_from_db()
    assert ([group.name for group in user.groups.all()], user.is_staff) == (["viewer"], False)


@pytest.mark.parametrize("groups", [[], ["another team"], None, "another"])
def test_who_is_in_no_group_with_a_role_is_refused_and_told_so(provider: Provider, groups: Any) -> None:
    provider.claims["groups"] = groups
    client = Client()
    refused = through(provider, client)
    assert refused == "/sign-in/?refused"
    assert "none of your groups has a role here" in client.get(refused).content.decode()
    assert not User.objects.exists()


def test_nobody_of_the_provider_becomes_a_user_who_signs_in_by_password(provider: Provider, ana: User) -> None:
    provider.claims |= {"email": ana.username, "preferred_username": ana.username}
    through(provider, Client())
    assert set(User.objects.values_list("username", flat=True)) == {ana.username, f"oidc:{ana.username}"}


def test_a_token_that_is_forged_or_for_another_client_lets_nobody_in(provider: Provider) -> None:
    provider.audience = "another-client"
    with pytest.raises(KeyError, match="location"):
        through(provider, Client())
    provider.audience, provider.signs_with = identity_provider.CLIENT, Provider().key
    with pytest.raises(KeyError, match="location"):
        through(provider, Client())
    assert not User.objects.exists()
