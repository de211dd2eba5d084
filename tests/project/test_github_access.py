"""What a source's GitHub is asked with: values as people have them, halves of a pair, and no secret in an error."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.project.test_variables import environment, loaded, refused
from webhooks.github_api.access import hooks_of
from webhooks.source_secrets import OF_SOURCES, listed_name, variable_of

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nq83vEjRWeJA=\n-----END RSA PRIVATE KEY-----\n"
SECRET = "not-to-be-shown-4711"

__all__ = ["environment"]  # A fixture that is used by being there.


@pytest.mark.parametrize(
    "written",
    [KEY, KEY.strip(), KEY.replace("\n", "\\n"), KEY.replace("\n", "\r\n"), f'"{KEY}"', KEY.replace("\n", "\n  ")],
    ids=["as it is", "without its last end", "in one line", "of Windows", "in quotes", "indented"],
)
def test_a_key_is_understood_however_it_was_pasted(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    found = loaded(monkeypatch, GITHUB_APP_PRIVATE_KEY=written, GITHUB_APP_ID="4711")
    assert found["HOOKLINE_GITHUB_ACCESS"]["github"]["private_key"] == KEY


@pytest.mark.parametrize(
    "given",
    [
        {"GITHUB_APP_PRIVATE_KEY": SECRET},
        {"GITHUB_APP_PRIVATE_KEY": KEY[:60]},
        {"GITHUB_APP_PRIVATE_KEY": KEY.replace("PRIVATE", "PUBLIC")},
        {"GITHUB_API_TOKEN": "ghp with a blank"},
        {"GITHUB_APP_ID": "4711 or so"},
        {"GITHUB_API_URL": "http://ghes.example.com/api/v3"},
        {"GITHUB_HOOKS": "acme/gadgets"},
        {"GITHUB_HOOKS": "orgs/acme/hooks/12, orgs/acme/hooks/12"},
        {"GITHUB_HOOKS": "repos/acme/../hooks/12"},
        {"GITHUB_HOOKS": "orgs/acme/hooks/12?per_page=1"},
        {"GITHUB_HOOK_ADDRESSES": "meta, hooks.example.com"},
        {"GITHUB_HOOK_ADDRESSES": "192.0.2.7/24"},
        {"GITHUB_HOOK_ADDRESSES": "meta, 0.0.0.0/0"},
        {"GITHUB_HOOK_ADDRESSES": ",,,"},
        {"HOOKLINE_TRUSTED_PROXIES": "::/0"},
        {"HOOKLINE_TRUSTED_PROXIES": "meta"},
    ],
)
def test_what_is_none_of_these_stops_the_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    said = refused(monkeypatch, **given)
    assert said.keys() == given.keys()
    assert not any(value in sentence for value in given.values() for sentence in said.values())


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("GITHUB_APP_ID", "4711", "GITHUB_APP_PRIVATE_KEY"),
        ("GITHUB_APP_PRIVATE_KEY", KEY, "GITHUB_APP_ID"),
        ("GITHUB_HOOKS", "orgs/acme/hooks/12", "GITHUB_API_TOKEN"),
        ("GITHUB_API_TOKEN", "github_pat_of_a_test", "GITHUB_HOOKS"),
    ],
)
@pytest.mark.parametrize("source", ["github", "ghes"])
def test_one_half_of_a_pair_asks_for_the_other(
    monkeypatch: pytest.MonkeyPatch, source: str, name: str, value: str, other: str
) -> None:
    given: dict[str, Any] = {variable_of(source, name): value, "HOOKLINE_SOURCES": "github,ghes"}
    secrets = {"GITHUB_WEBHOOK_SECRETS_GHES": "a-secret-of-the-server"}
    with pytest.raises(
        ImproperlyConfigured, match=f"{variable_of(source, name)}: needs {variable_of(source, other)} too"
    ):
        loaded(monkeypatch, **given, **secrets, HOOKLINE_ROLE="all")


def test_a_role_without_the_key_does_not_miss_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(monkeypatch, GITHUB_APP_ID="4711", GITHUB_HOOKS="orgs/acme/hooks/12", HOOKLINE_ROLE="relay")
    assert found["HOOKLINE_GITHUB_ACCESS"]["github"]["private_key"] == ""


def test_a_source_s_deliveries_may_come_from_anywhere_unless_that_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch)["HOOKLINE_HOOK_ADDRESSES"] == {}
    given = {
        "HOOKLINE_SOURCES": "github,ghes,other",
        "GITHUB_WEBHOOK_SECRETS_GHES": "a-secret-of-the-server",
        "GITHUB_WEBHOOK_SECRETS_OTHER": "a-secret-of-the-other",
        "GITHUB_HOOK_ADDRESSES": "192.0.2.7, meta",
        "GITHUB_HOOK_ADDRESSES_GHES": "2001:db8::/32",
        "GITHUB_API_URL_GHES": "https://ghes.example.com/api/v3/",
    }
    found = loaded(monkeypatch, **given, HOOKLINE_TRUSTED_PROXIES="10.0.0.0/8")
    assert found["HOOKLINE_HOOK_ADDRESSES"] == {
        "github": {"meta_url": "https://api.github.com/meta", "networks": ["192.0.2.7/32"]},
        "ghes": {"meta_url": "", "networks": ["2001:db8::/32"]},
    }
    server = loaded(monkeypatch, **given | {"GITHUB_HOOK_ADDRESSES_GHES": "meta"}, HOOKLINE_BEHIND_PROXY="false")
    assert server["HOOKLINE_HOOK_ADDRESSES"]["ghes"]["meta_url"] == "https://ghes.example.com/api/v3/meta"


def test_addresses_are_not_limited_behind_a_proxy_that_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="GITHUB_HOOK_ADDRESSES: needs HOOKLINE_TRUSTED_PROXIES"):
        loaded(monkeypatch, GITHUB_HOOK_ADDRESSES="meta")


def test_the_hooks_of_a_source_are_its_app_s_and_those_that_are_named(settings: Any) -> None:
    given = {"api_url": "https://api.github.com", "app_id": "4711", "private_key": KEY, "token": "github_pat_x"}
    settings.HOOKLINE_GITHUB_ACCESS = {"github": {**given, "hooks": ["orgs/acme/hooks/12", "repos/a/b/hooks/3"]}}
    found = list(hooks_of("github"))
    assert [(one.hook, one.path, one.known_hook_id) for one in found] == [
        ("app", "/app/hook", None),
        ("orgs/acme/hooks/12", "/orgs/acme/hooks/12", 12),
        ("repos/a/b/hooks/3", "/repos/a/b/hooks/3", 3),
    ]
    assert [bool(one.token) for one in found] == [False, True, True]
    assert not any(word in repr(found) for word in ("PRIVATE", "github_pat_x"))


def test_a_variable_of_a_further_source_is_listed_under_the_first_one() -> None:
    for first in OF_SOURCES:
        assert variable_of("github", first) == listed_name(first) == first
        assert listed_name(variable_of("ghes-eu", first)) == first
    assert listed_name("GITHUB_APP_IDENTITY") == "GITHUB_APP_IDENTITY"


def test_a_worker_may_know_the_app_s_id_and_hooks_without_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"GITHUB_APP_ID": "4711", "GITHUB_HOOKS": "orgs/acme/hooks/12"}
    found = loaded(monkeypatch, HOOKLINE_ROLE="worker", **known)
    assert found["HOOKLINE_GITHUB_ACCESS"]["github"]["private_key"] == ""
    monkeypatch.delenv("GITHUB_APP_ID", raising=False)
    with pytest.raises(ImproperlyConfigured, match="GITHUB_APP_PRIVATE_KEY: needs GITHUB_APP_ID too"):
        loaded(monkeypatch, HOOKLINE_ROLE="worker", GITHUB_APP_PRIVATE_KEY=KEY)
