"""The page of sources: who sees what, how a secret is shown once, and how one is retired."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.support.inbox_rows import EVIL, make_delivery, page, queries_of
from tests.support.people import ROLELESS, signed_in
from webhooks.encryption import new_key
from webhooks.github.signature import secret_fingerprint
from webhooks.inbox.secrets import changing
from webhooks.models import Change, HookLog, SecretUse, SourceSecret

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

GIVEN = "the secret of the environment"
LIST = "/sources/"
NEW = "/sources/secrets/new/"
ADD = "/sources/secrets/add/"


@pytest.fixture(autouse=True)
def sources(settings: Any) -> None:
    settings.HOOKLINE_SECRETS = {"github": [GIVEN], "ghes": []}
    settings.HOOKLINE_SOURCES = ["github", "ghes"]
    settings.HOOKLINE_ENCRYPTION_KEYS = [new_key()]
    settings.HOOKLINE_GITHUB_ACCESS = {
        "github": {
            "api_url": "https://api.github.com",
            "app_id": "4711",
            "private_key": "-----the key of the App-----",
            "token": "the token of the hooks",
            "hooks": ["orgs/acme/hooks/12"],
        },
        "ghes": {
            "api_url": "https://ghes.example.com/api/v3",
            "app_id": "",
            "private_key": "",
            "token": "",
            "hooks": [],
        },
    }


def added(source: str = "github", **given: Any) -> tuple[str, SourceSecret]:
    value = changing.new_secret()
    return value, changing.add(source, value, who="ana", **given)


def used(fingerprint: str, *, ago: timedelta, source: str = "github") -> None:
    at = timezone.now() - ago
    SecretUse.objects.create(source=source, fingerprint=fingerprint, since=at, last_used_at=at)


def retire_of(secret: SourceSecret, *, now: bool = False) -> str:
    return f"/sources/secrets/{secret.pk}/retire/{'now/' if now else ''}"


@pytest.mark.parametrize("role", ["viewer", "operator", "administrator"])
def test_who_has_a_role_sees_sources_and_no_secret(role: str, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["hooks.example.com"]
    value, made = added(note="for the App")
    used(secret_fingerprint(GIVEN, key=settings.SECRET_KEY), ago=timedelta(days=6, minutes=1))
    used(made.fingerprint, ago=timedelta(minutes=2))
    HookLog.objects.create(source="github", hook="app", completed_at=timezone.now() - timedelta(hours=3))
    shown = signed_in(role).get(LIST, headers={"host": "hooks.example.com"}).content.decode()
    for words in (
        "http://hooks.example.com/webhooks/github", "https://ghes.example.com/api/v3", "4711", "its key is given",
        "orgs/acme/hooks/12", "a token is given", made.fingerprint, "for the App", "from the environment",
        "Last seen 6 d ago: safe to remove", "Was used 2 min ago: GitHub still signs with it", "3 h ago",
        "No secret of ghes verifies: its deliveries are refused.",
    ):  # fmt: skip
        assert words in shown, words
    for hidden in (value, GIVEN, "the key of the App", "the token of the hooks"):
        assert hidden not in shown


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_an_administrator_is_offered_changes_and_may_make_them(role: str) -> None:
    _, made = added()
    client = signed_in(role)
    shown = page(client, LIST)
    assert NEW not in shown
    assert retire_of(made) not in shown
    asked = [client.get(f"{NEW}?source=github"), client.get(retire_of(made))]
    done = [client.post(ADD, {"source": "github"}), client.post(retire_of(made, now=True), {"reason": "x"})]
    assert [answer.status_code for answer in (*asked, *done)] == [403] * 4
    assert SourceSecret.objects.filter(retired_at=None).count() == 1
    assert NEW in page(signed_in("administrator"), LIST)


def test_who_has_no_role_sees_nothing() -> None:
    assert signed_in(ROLELESS).get(LIST).status_code == 403
    assert Client().get(LIST).status_code == 302


def test_a_new_secret_is_shown_once_and_kept_by_nobody_on_the_way() -> None:
    client = signed_in("administrator")
    assert "shown once" in page(client, f"{NEW}?source=ghes")
    day = f"{timezone.now() + timedelta(days=90):%Y-%m-%d}"
    answer = client.post(ADD, {"source": "ghes", "note": EVIL, "not_after": day})
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    [made] = SourceSecret.objects.all()
    text = answer.content.decode()
    value = text.split('data-copy="')[1].split('"')[0]
    assert len(value) == 43
    assert (made.created_by, made.note, f"{made.not_after:%Y-%m-%d}") == ("administrator", EVIL[:200], day)
    shown = page(client, LIST)
    assert value not in shown
    assert EVIL not in shown
    assert value not in page(client, f"/admin/webhooks/sourcesecret/{made.pk}/change/")
    assert Change.objects.get().action == "add_secret"


@pytest.mark.parametrize(
    ("given", "words"), [({"not_after": "2020-01-01"}, "in the past"), ({"not_after": "soon"}, "must be a day")]
)
def test_a_form_that_is_wrong_is_shown_again_with_what_was_given(given: dict[str, str], words: str) -> None:
    answer = signed_in("administrator").post(ADD, {"source": "github", "note": "my note", **given})
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert "my note" in answer.content.decode()
    assert not SourceSecret.objects.exists()


def test_without_a_key_the_page_says_what_to_do(settings: Any) -> None:
    settings.HOOKLINE_ENCRYPTION_KEYS = []
    client = signed_in("administrator")
    assert "HOOKLINE_ENCRYPTION_KEYS holds no key" in page(client, LIST)
    assert "openssl rand" in page(client, f"{NEW}?source=github")
    assert client.post(ADD, {"source": "github"}).status_code == 400


@pytest.mark.parametrize("path", [f"{NEW}?source=gitlab", NEW, "/sources/secrets/99999999999999999999/retire/"])
def test_what_is_not_there_is_not_found(path: str) -> None:
    assert signed_in("administrator").get(path).status_code == 404


def test_a_secret_in_use_is_retired_only_after_a_second_word() -> None:
    _, made = added("ghes")
    used(made.fingerprint, ago=timedelta(minutes=2), source="ghes")
    client = signed_in("administrator")
    assert "GitHub still signs with it" in page(client, retire_of(made))
    answer = client.post(retire_of(made, now=True), {"reason": "leaked"})
    assert answer.status_code == 400
    assert 'value="leaked"' in answer.content.decode()
    assert client.post(retire_of(made, now=True), {"reason": " ", "anyway": "yes"}).status_code == 400
    assert SourceSecret.objects.filter(retired_at=None).exists()
    assert client.post(retire_of(made, now=True), {"reason": "leaked", "anyway": "yes"}).status_code == 302
    shown = page(client, LIST)
    assert f"Retired {made.fingerprint} of ghes" in shown
    assert "by administrator" in shown
    change = Change.objects.latest("pk")
    assert (change.action, change.who, change.reason) == ("retire_secret", "administrator", "leaked")
    assert client.get(retire_of(made)).status_code == 404


def test_home_warns_of_a_source_whose_last_secret_ends_soon_and_of_nothing_else() -> None:
    client = signed_in("viewer")
    assert "no secret of ghes verifies" in page(client, "/")
    added("ghes", not_after=timezone.now() + timedelta(days=9, minutes=5))
    assert "the last secret of ghes ends in 9 d" in page(client, "/")
    added("ghes")
    shown = page(client, "/")
    assert "ghes" not in shown.partition('class="standing-sentence"')[2].partition("</p>")[0]


def test_the_page_asks_as_much_of_the_database_for_many_secrets_as_for_one() -> None:
    client = signed_in("viewer")
    added()
    page(client, LIST)
    few = queries_of(lambda: page(client, LIST))
    for _ in range(20):
        added()
    assert queries_of(lambda: page(client, LIST)) == few


def test_the_page_of_a_delivery_says_where_its_secret_is_kept() -> None:
    _, made = added()
    delivery = make_delivery(secret_fingerprint=made.fingerprint)
    client = signed_in("viewer")
    assert "kept in the database" in page(client, f"/deliveries/{delivery.pk}/")
    changing.retire(made.fingerprint, who="ana", is_forced=True)
    assert "retired" in page(client, f"/deliveries/{delivery.pk}/")


def test_the_admin_shows_a_secret_without_its_value_and_changes_none() -> None:
    _, made = added(note=EVIL)
    client = signed_in("administrator")
    listed = page(client, "/admin/webhooks/sourcesecret/")
    own = page(client, f"/admin/webhooks/sourcesecret/{made.pk}/change/")
    assert made.fingerprint in listed
    assert made.fingerprint in own
    for text in (listed, own):
        assert bytes(made.value).decode() not in text
        assert EVIL not in text
    assert client.get("/admin/webhooks/sourcesecret/add/").status_code == 403
    assert client.post(f"/admin/webhooks/sourcesecret/{made.pk}/delete/", {"post": "yes"}).status_code == 403
