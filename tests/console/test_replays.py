"""The pages of replays: for each role, the exact count before anything runs, and what the state allows."""

from typing import Any

import pytest
from django.test import Client

from tests.inbox.test_replays import BILL, COUNT, dead, end_all
from tests.support.inbox_rows import EVIL, make_delivery, page
from tests.support.people import ROLELESS, signed_in
from webhooks.inbox.replays import life, running, scope
from webhooks.inbox.replays.life import ask
from webhooks.inbox.replays.scope import Scope
from webhooks.models import Change, Job, Replay
from webhooks.states import JobState
from webhooks.subscriptions import installed
from webhooks.subscriptions.subscription import Subscriptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WHO: Any = {"who": "ana", "reason": "the mail server is back"}


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_subscriptions", Subscriptions([COUNT, BILL]))


def confirmed(client: Client, query: str, **values: Any) -> Any:
    """Send the form of the preview as it stands there."""
    shown = client.get(f"/replays/preview/?{query}").context
    frozen = shown["frozen"]
    form = dict(shown["scope"].fields) | {"last_id": frozen.last_id, "cut_at": frozen.cut_at.isoformat()}
    return client.post("/replays/begin/", form | {"rate": "5", "reason": "mail is back"} | values)


@pytest.mark.parametrize("role", ["operator", "administrator"])
def test_an_operator_sees_the_exact_count_by_handler_confirms_it_and_is_led_to_its_page(role: str) -> None:
    dead(3)
    dead(2, handler="shop.bill", queue="io")
    client = signed_in(role)
    shown = page(client, "/replays/preview/?state=dead")
    assert "Run again 5 jobs" in shown
    assert "shop.bill" in shown
    reply = confirmed(client, "state=dead")
    [replay] = Replay.objects.all()
    assert (reply.status_code, reply.headers["Location"]) == (302, f"/replays/{replay.pk}/")
    assert (replay.total, replay.rate, replay.asked_by) == (5, 5.0, role)
    change = Change.objects.get()
    assert (change.action, change.who, change.reason, change.count) == ("replay", role, "mail is back", 5)
    assert "0 % of 5 jobs" in page(client, f"/replays/{replay.pk}/")
    assert not Job.objects.filter(state=JobState.QUEUED).exists(), "No request runs a job."


@pytest.mark.parametrize("role", ["viewer", ROLELESS])
def test_who_is_no_operator_begins_pauses_and_cancels_none(role: str) -> None:
    dead(1)
    replay, client = ask(Scope(), **WHO), signed_in(role)
    for path in ("/replays/", f"/replays/{replay.pk}/"):
        assert client.get(path).status_code == (200 if role == "viewer" else 403), path
    for path in ("/replays/new/", "/replays/preview/"):
        assert client.get(path).status_code == 403, path
    for path in ("begin", f"{replay.pk}/pause", f"{replay.pk}/continue", f"{replay.pk}/cancel"):
        assert client.post(f"/replays/{path}/").status_code == 403, path
    if role == "viewer":
        assert "Cancel</button>" not in page(client, f"/replays/{replay.pk}/")
        assert "New replay" not in page(client, "/replays/")
    replay.refresh_from_db()
    assert replay.state == Replay.State.RUNNING


def test_filters_in_the_url_fill_the_form_and_survive_each_step() -> None:
    client = signed_in("operator")
    query = "handler=shop.count&state=skipped&event=push&since=2026-11-26T14:00:00%2B00:00&installation=7"
    shown = page(client, f"/replays/new/?{query}")
    for value in ('value="shop.count"', 'value="skipped" selected', 'value="2026-11-26T14:00:00"', 'value="7"'):
        assert value in shown
    assert "installation=7" in page(client, f"/replays/preview/?{query}")
    assert "ends before it begins" in page(client, "/replays/preview/?since=2026-01-02&until=2026-01-01")
    assert "name it" in page(client, "/replays/preview/?missing=on")


def test_a_reason_is_asked_for_and_nothing_begins_without_one() -> None:
    dead(1)
    reply = confirmed(signed_in("operator"), "state=dead", reason="")
    assert reply.status_code == 200
    assert "This field is required." in reply.content.decode()
    assert not Replay.objects.exists()


def test_a_count_that_had_to_stop_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "SLICE", 2)
    monkeypatch.setattr(life, "COUNT_SECONDS", 0.0)
    dead(5)
    client = signed_in("operator")
    shown = page(client, "/replays/preview/?state=dead")
    assert "The count stopped" in shown
    assert "2 jobs or more" in shown
    confirmed(client, "state=dead")
    assert "Counting: 2 jobs so far" in page(client, f"/replays/{Replay.objects.get().pk}/")


def test_missing_jobs_are_counted_and_made() -> None:
    make_delivery()
    client = signed_in("operator")
    assert "Make and run 1 job" in page(client, "/replays/preview/?handler=shop.count&missing=on")
    confirmed(client, "handler=shop.count&missing=on")
    running.step()
    assert Job.objects.get().handler == "shop.count"


def test_it_is_paused_continued_and_cancelled_half_way_and_only_what_is_possible_is_offered() -> None:
    dead(4)
    replay, client = ask(Scope(), rate=2, **WHO), signed_in("operator")
    running.step()
    url = f"/replays/{replay.pk}/"
    assert "Continue</button>" not in page(client, url)
    client.post(f"{url}pause/")
    assert "Pause</button>" not in page(client, url)
    client.post(f"{url}continue/")
    client.post(f"{url}cancel/")
    shown = page(client, url)
    assert "2 queued jobs had not begun, and will not." in shown
    assert "Cancelled by operator." in shown
    assert "Cancel</button>" not in shown
    assert set(Job.objects.values_list("state", flat=True)) == {"dead"}
    assert "Nothing was changed" in client.post(f"{url}pause/", follow=True).content.decode()


def test_errors_stand_there_by_item_and_hostile_values_as_text() -> None:
    dead(2)
    replay, client = ask(Scope(), who="ana", reason=EVIL), signed_in("viewer")
    running.step()
    end_all(JobState.DEAD, error=EVIL)
    running.step()
    for url in (f"/replays/{replay.pk}/", "/replays/"):
        assert EVIL not in page(client, url)
        assert "&lt;script&gt;" in page(client, url)
    assert page(client, f"/replays/{replay.pk}/").count("shop.count #") == 2


def test_an_empty_list_and_an_empty_preview_say_why() -> None:
    client = signed_in("operator")
    assert "No replay exists" in page(client, "/replays/")
    assert "No job matches" in page(client, "/replays/preview/?handler=shop.count")
    assert client.get("/replays/4711/").status_code == 404
