"""The page of destinations: who sees what, what a form refuses, what a filter would match, and what is recorded."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.support.inbox_rows import EVIL, make_delivery, make_job, page, queries_of
from tests.support.people import ROLELESS, signed_in
from webhooks.encryption import HiddenKeys, new_key
from webhooks.inbox import pauses
from webhooks.inbox.destinations import breaker, changing
from webhooks.inbox.destinations.changing import Secrets, stored_headers
from webhooks.models import Change, Destination, Job
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

LIST, NEW, ADD, PREVIEW = "/destinations/", "/destinations/new/", "/destinations/add/", "/destinations/preview/"
OF = "/destinations/of/chat/"
SECRET, TOKEN, PATH = "a secret of the signature", "Bearer abcdefghijkl", "services/T0KEN"
GIVEN = {
    "name": "chat", "url": f"https://chat.example.com/{PATH}", "events": "push, pull_request", "actions": "opened",
    "repository": "acme/*", "where": "pull_request.draft = false\npull_request.base.ref = release/*",
    "signing": "github", "signing_secret": SECRET, "headers": f"Authorization: {TOKEN}\nX-Team: blue",
    "time_limit": "7.5", "max_attempts": "4", "backoff_seconds": "20", "queue": "forwarding",
    "fair_by": "handler", "one_at_a_time_by": "pull_request", "latest_only_by": "",
}  # fmt: skip


@pytest.fixture(autouse=True)
def keys(settings: Any) -> None:
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys([new_key()])


def made(name: str = "chat", *, on: bool = True, **values: Any) -> Destination:
    given = {"events": ["push"], "url": f"https://chat.example.com/{PATH}", "queue": "forwarding", "signing": "github"}
    row = changing.create(name, given | values, Secrets({"X-Token": TOKEN}, SECRET), who="ana")
    if on:
        changing.switch(name, on=True, who="ana")
    return row


def add(**given: str) -> Any:
    return signed_in("administrator").post(ADD, GIVEN | given)


@pytest.mark.parametrize("role", ["viewer", "operator", "administrator"])
def test_who_has_a_role_sees_destinations_and_no_secret(role: str) -> None:
    row = made(repository="acme/*")
    for _ in range(3):
        make_job(JobState.QUEUED, handler=row.handler, queue="forwarding")
    breaker.failed("chat", job_id=1, why="500 in 3 ms (Internal Server Error).")
    Destination.objects.update(succeeded_at=timezone.now())
    shown = page(signed_in(role), LIST)
    for words in (
        "https://chat.example.com", "push of acme/*", "as GitHub signs", "X-Token", ">3</a>", "failing",
        "500 in 3 ms (Internal Server Error).", "by ana",
    ):  # fmt: skip
        assert words in shown, words
    for hidden in (SECRET, TOKEN, PATH):
        assert hidden not in shown


ACTIONS = {
    "viewer": [],
    "operator": ["pause/", "close/"],
    "administrator": ["pause/", "close/", "test/", "delete/", ""],
}


@pytest.mark.parametrize("role", ACTIONS)
def test_each_role_is_offered_what_it_may_do(role: str) -> None:
    job = make_job(JobState.QUEUED, handler=made().handler, queue="forwarding")
    for _ in range(breaker.OPENS_AFTER):
        breaker.failed("chat", job_id=job.pk, why="No answer in 10 s.")
    shown = page(signed_in(role), LIST)
    offered = [path for path in ("pause/", "close/", "test/", "delete/", "") if f'"{OF}{path}"' in shown]
    assert offered == ACTIONS[role]
    assert (NEW in shown) == (role == "administrator")
    assert "breaker open" in shown
    assert "One of them is the next try: " in shown
    Destination.objects.update(next_try_at=timezone.now() - timedelta(minutes=5))
    assert "The first that is due tries it again." in page(signed_in("viewer"), LIST)
    assert "after 10 failures in a row its jobs wait" in shown


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_an_administrator_makes_changes_and_deletes(role: str) -> None:
    made()
    client = signed_in(role)
    asked = [client.get(each) for each in (NEW, OF, f"{OF}delete/")]
    done = [client.post(each, GIVEN) for each in (ADD, PREVIEW, f"{OF}change/", f"{OF}test/", f"{OF}delete/now/")]
    assert {answer.status_code for answer in (*asked, *done)} == {403}
    assert Destination.objects.get().version == 2
    assert not Job.objects.exists()


def test_who_has_no_role_sees_nothing_and_a_viewer_pauses_nothing() -> None:
    made()
    assert signed_in(ROLELESS).get(LIST).status_code == 403
    assert Client().get(LIST).status_code == 302
    viewer = signed_in("viewer")
    for each in ("pause/now/", "resume/", "close/"):
        assert viewer.post(f"{OF}{each}", {"reason": "x"}).status_code == 403


def test_a_destination_is_made_as_it_was_written_and_is_off() -> None:
    assert "There is no destination" in page(signed_in("viewer"), LIST)
    assert add().status_code == 302
    row = Destination.objects.get()
    assert (row.name, row.events, row.actions, row.repository) == (
        "chat",
        ["push", "pull_request"],
        ["opened"],
        "acme/*",
    )
    assert row.where == {"pull_request.draft": False, "pull_request.base.ref": "release/*"}
    assert (row.time_limit, row.max_attempts, row.backoff_seconds, row.allow_private) == (7.5, 4, 20.0, False)
    assert (row.fair_by, row.one_at_a_time_by, row.latest_only_by) == ("handler", "pull_request", "")
    assert "one of each pull request at a time" in page(signed_in("viewer"), LIST)
    assert stored_headers(row) == {"Authorization": TOKEN, "X-Team": "blue"}
    assert not row.is_enabled
    change = Change.objects.get()
    assert (change.action, change.who, change.scope) == ("create_destination", "administrator", "destination chat")
    assert PATH not in change.reason


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("name", "No Spaces", "small letters"), ("name", "taken", "There is a destination of this name"),
        ("url", "chat.example.com/hook", "whole URL"), ("url", "ftp://chat.example.com", "whole URL"),
        ("url", "https://", "whole URL"), ("url", "https://[::1", "whole URL"), ("url", "", "whole URL"),
        ("url", "https://ana:pw@chat.example.com", "No name and password"),
        ("url", "https://a.example.com/#x", "without #"),
        ("events", "pushh", "no event pushh"), ("events", " ", "one event or more"),
        ("repository", "widgets", "its owner"),
        ("where", "pull_request.draft", "a path, ="), ("where", "a..b = 1", "has an empty key"),
        ("where", "$.a[?@.b = 1", "a path, ="), ("where", "$.a[", "a path, ="), ("where", "$.a[x] = 1", "no JSON path"),
        ("where", '$.a[?@.b == "c"]', "a path, ="),
        ("where", "a.b = {}", "list of them"), ("where", "a.b = 1.5", "list of them"),
        ("signing", "none of them", "Choose one"), ("signing_secret", "short", "16 characters or more"),
        ("signing_secret", "", "16 characters or more"), ("headers", "no colon", "a colon"),
        ("headers", "Host: evil.example.com", "set by Hookline"),
        ("headers", "X-Hub-Signature-256: x", "set by Hookline"),
        ("headers", "X-A: \u00e4", "printable ASCII"), ("headers", "X-A:", "has no value"),
        ("time_limit", "51", "from 1 to 50"), ("time_limit", "nan", "from 1 to 50"),
        ("max_attempts", "1.5", "from 1 to 50"),
        ("backoff_seconds", "0", "from 1 to 3,600"), ("queue", "nobodys", "Choose one"),
        ("fair_by", "", "Choose one"), ("one_at_a_time_by", "weather", "Choose one"),
        ("latest_only_by", "repository", "they are the same"),
    ],
)  # fmt: skip
def test_a_form_that_is_wrong_is_shown_again_without_its_secrets(field: str, text: str, words: str) -> None:
    made("taken")
    answer = add(**{field: text})
    assert answer.status_code == 400
    shown = answer.content.decode()
    assert words in shown
    assert "acme/*" in shown or field == "repository"
    for hidden in (SECRET, TOKEN):
        assert hidden not in shown
    assert Destination.objects.count() == 1


def test_a_secret_of_standard_webhooks_is_base64_of_enough_bytes() -> None:
    for wrong in ("whsec_odd", "a secret of the signature", "whsec_" + "A" * 8, "whsec_" + "A" * 120):
        assert "24 to 64 bytes" in add(signing="standard", signing_secret=wrong).content.decode()
    assert add(signing="standard", signing_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").status_code == 302


def test_hostile_words_are_shown_as_words() -> None:
    assert EVIL not in add(name=EVIL, events=EVIL, where=EVIL, headers=f"{EVIL}: x", queue=EVIL).content.decode()
    made(repository=f"acme/{EVIL}", where={EVIL: EVIL})
    client = signed_in("administrator")
    assert EVIL not in page(client, LIST)
    assert EVIL not in page(client, OF)


def test_a_change_keeps_what_is_not_written_again() -> None:
    before = made(where={"ref": "true", "n": 1, "list": ["a", None], '$.a[?@.b == "="].c': "x=y"})
    client = signed_in("administrator")
    shown = page(client, OF)
    for hidden in (SECRET, TOKEN, PATH):
        assert hidden not in shown
    given = {
        **GIVEN,
        "url": "",
        "signing_secret": "",
        "headers": "X-Token:",
        "where": 'ref = "true"\nn = 1\nlist = ["a",null]\n$.a[?@.b == "="].c = x=y',
    }
    assert "ref = &quot;true&quot;" in shown
    assert client.post(f"{OF}change/", given).status_code == 302
    row = Destination.objects.get()
    assert (row.url, row.signing_secret, row.where) == (before.url, before.signing_secret, before.where)
    assert stored_headers(row) == {"X-Token": TOKEN}
    assert (row.time_limit, row.changed_by) == (7.5, "administrator")
    assert Change.objects.latest("pk").action == "change_destination"
    answer = client.post(f"{OF}change/", given | {"signing": "standard"})
    assert "24 to 64 bytes" in answer.content.decode()
    assert client.post(f"{OF}change/", given | {"signing": "none"}).status_code == 302
    assert Destination.objects.get().signing_secret == ""


def test_no_stored_header_is_sent_to_another_host() -> None:
    made()
    client = signed_in("administrator")
    given = {**GIVEN, "signing_secret": "", "headers": "X-Token:", "url": "https://evil.example.com/"}
    assert "Write X-Token again" in client.post(f"{OF}change/", given).content.decode()
    assert Destination.objects.get().version == 2
    for change in ({"headers": "X-Token: new"}, {"url": "https://evil.example.com/other"}):
        assert client.post(f"{OF}change/", given | change).status_code == 302


def test_without_a_key_only_a_destination_without_secrets_is_made(settings: Any) -> None:
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys()
    assert "HOOKLINE_DESTINATION_KEYS holds no key" in page(signed_in("administrator"), NEW)
    assert add().status_code == 400
    assert add(signing="none", headers="").status_code == 302


def test_a_preview_says_which_of_the_last_deliveries_match_and_stores_nothing() -> None:
    matching = make_delivery(
        b'{"repository": {"full_name": "acme/w"}, "pull_request": {"draft": false, "base": {"ref": "release/1"}}}',
        event="pull_request", action="opened",
    )  # fmt: skip
    make_delivery(
        b'{"repository": {"full_name": "acme/widgets"}, "pull_request": {"draft": true}}', event="pull_request"
    )
    make_delivery(None, event="pull_request", action="opened")
    make_delivery(event="issues")
    client = signed_in("administrator")
    shown = client.post(PREVIEW, GIVEN).content.decode()
    assert "Of the last 4 deliveries <strong>1</strong> matches." in shown
    assert "Of 1 more nobody can tell" in shown
    assert f"/deliveries/{matching.pk}/" in shown
    assert "no event pushh" in client.post(PREVIEW, GIVEN | {"events": "pushh"}).content.decode()
    assert not Destination.objects.exists()


def test_a_preview_reads_a_hundred_deliveries_at_most() -> None:
    for _ in range(105):
        make_delivery(b"{}")
    given = {**GIVEN, "events": "*", "actions": "", "repository": "", "where": ""}
    assert (
        "Of the last 100 deliveries <strong>100</strong> match."
        in signed_in("administrator").post(PREVIEW, given).content.decode()
    )


def test_a_test_is_a_job_like_any_other_even_while_the_destination_is_off() -> None:
    made(on=False)
    answer = signed_in("administrator").post(f"{OF}test/")
    job = Job.objects.get()
    assert answer["Location"] == f"/jobs/{job.pk}/"
    assert (job.handler, job.queue, job.delivery.event) == ("forward.chat", "forwarding", "ping")
    assert (Change.objects.latest("pk").action, Change.objects.latest("pk").count) == ("test_destination", 1)


def test_an_operator_pauses_with_a_reason_and_switches_on_again() -> None:
    made()
    client = signed_in("operator")
    assert "can be replayed later" in page(client, f"{OF}pause/")
    assert client.post(f"{OF}pause/now/", {"reason": " "}).status_code == 400
    assert client.post(f"{OF}pause/now/", {"reason": "their move"}).status_code == 302
    shown = page(client, LIST)
    assert ">off<" in shown
    assert f"{OF}resume/" in shown
    change = Change.objects.latest("pk")
    assert (change.action, change.who, change.reason) == ("switch_off", "operator", "their move")
    assert client.post(f"{OF}resume/").status_code == 302
    assert Destination.objects.get().is_enabled
    pauses.pause(handler="forward.chat", reason="incident", who="bob")
    assert "bob has paused its handler" in page(client, LIST)


def test_deleting_asks_for_a_reason_and_is_recorded() -> None:
    made()
    client = signed_in("administrator")
    assert "cannot be undone" in page(client, f"{OF}delete/")
    assert client.post(f"{OF}delete/now/", {}).status_code == 400
    assert client.post(f"{OF}delete/now/", {"reason": "moved"}).status_code == 302
    assert not Destination.objects.exists()
    assert (Change.objects.latest("pk").action, Change.objects.latest("pk").reason) == ("delete_destination", "moved")
    assert client.get(f"{OF}delete/").status_code == 404
    assert client.post(f"{OF}test/").status_code == 404


def test_the_page_asks_as_much_of_the_database_for_many_destinations_as_for_one() -> None:
    client = signed_in("viewer")
    made()
    page(client, LIST)
    few = queries_of(lambda: page(client, LIST))
    for number in range(20):
        made(f"chat-{number}")
    assert queries_of(lambda: page(client, LIST)) == few
