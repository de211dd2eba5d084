"""The pages of recovery: what passes found, for each role; and a recovered delivery's own page and command."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from tests.support.inbox_rows import EVIL, client_of, make_delivery, make_recovery, page, queries_of
from tests.support.people import ROLELESS, signed_in
from webhooks.models import Delivery, HookLog, LogPass, MissedDelivery, Payload, Recovery

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

AT = datetime(2026, 11, 26, 14, 2, 10, tzinfo=UTC)


def made_log(**values: Any) -> HookLog:
    return HookLog.objects.create(**{"source": "github", "hook": "app", "hook_id": 7} | values)


def made_pass(log: HookLog, **values: Any) -> LogPass:
    return LogPass.objects.create(**{"log": log, "state": LogPass.State.COMPLETE, "until": AT} | values)


def recovered(log_pass: LogPass | None, **values: Any) -> Delivery:
    delivery = make_delivery(secret_fingerprint="")
    make_recovery(delivery, log_pass=log_pass, delivered_at=AT, **values)
    return delivery


def missed(log: HookLog, **values: Any) -> MissedDelivery:
    given = {"guid": uuid.uuid4(), "entry_id": 3, "event": "push", "delivered_at": AT, "reason": "gone"}
    return MissedDelivery.objects.create(**{"log": log, "is_open": False, **given} | values)


def every_page(log_pass: LogPass) -> list[str]:
    return ["/recovery/", f"/recovery/passes/{log_pass.pk}/", "/recovery/missed/"]


@pytest.mark.parametrize("role", ["viewer", "operator", "administrator"])
def test_who_has_a_role_sees_what_passes_found(role: str) -> None:
    log = made_log(complete_until=AT, completed_at=AT)
    reason = "2 deliveries cannot be recovered"
    done = made_pass(
        log, state="incomplete", entries=4_310, recovered=1, lost=2, calls=45, reason=reason, gap_from=AT, gap_until=AT
    )
    delivery = recovered(done)
    missed(log)
    missed(log, reason="unfetched", is_open=True)
    client = signed_in(role)
    listed, own, lost = (page(client, url) for url in every_page(done))
    assert "4,310" in listed
    assert reason in listed
    assert 'data-state="incomplete"' in listed
    assert reason in own
    assert f"/deliveries/{delivery.pk}/" in own
    assert "timed out (504), 10.2 s" in own
    assert "has left its log unseen" in own
    assert "GitHub&#x27;s log no longer has its payload" in lost
    assert "tried again" in lost


def test_who_has_no_role_sees_none() -> None:
    done = made_pass(made_log())
    client = signed_in(ROLELESS)
    assert {client.get(url).status_code for url in every_page(done)} == {403}


def test_a_page_tells_apart_what_never_was_and_what_is_kept_no_longer() -> None:
    client = signed_in("viewer")
    assert "No log has been read yet" in page(client, "/recovery/")
    assert "None is missed" in page(client, "/recovery/missed/")
    log = made_log()
    assert "No pass is kept" in page(client, "/recovery/")
    assert "none yet" in page(client, "/recovery/")
    assert "None was missing here" in page(client, f"/recovery/passes/{made_pass(log).pk}/")
    assert client.get("/recovery/passes/99999999999999999999/").status_code == 404


def test_the_filter_by_log_survives_the_pages_of_the_list() -> None:
    log, other = made_log(), made_log(hook="orgs/acme/hooks/12")
    for _ in range(51):
        made_pass(log)
    made_pass(other)
    client = signed_in("viewer")
    shown = page(client, f"/recovery/?log={log.pk}")
    assert shown.count('id="pass-') == 50
    [older] = [part.split('"')[0] for part in shown.split('href="')[1:] if "after=" in part.split('"')[0]]
    rest = page(client, "/recovery/" + older.replace("&amp;", "&"))
    assert rest.count('id="pass-') == 1
    assert "orgs/acme/hooks/12</a>" not in rest.partition("passes-title")[2]
    assert page(client, "/recovery/?log=x").count('id="pass-') == 50


def test_a_log_that_is_being_read_is_marked() -> None:
    log = made_log(lease_until=timezone.now() + timedelta(minutes=1))
    client = signed_in("viewer")
    assert "is being read" in page(client, "/recovery/")
    HookLog.objects.filter(pk=log.pk).update(lease_until=timezone.now() - timedelta(minutes=1))
    assert "is being read" not in page(client, "/recovery/")


def test_what_github_says_is_shown_and_not_run() -> None:
    log = made_log()
    done = made_pass(log, reason=EVIL, state="stopped")
    missed(log, event=EVIL[:100], action=EVIL)
    delivery = recovered(done, status=EVIL)
    client = signed_in("operator")
    for url in (*every_page(done), f"/deliveries/{delivery.pk}/"):
        shown = page(client, url)
        assert EVIL not in shown
        assert "&lt;script&gt;" in shown, url


def test_a_recovered_delivery_shows_when_github_tried_and_how_that_ended() -> None:
    done = made_pass(made_log())
    held = AT - timedelta(seconds=30)
    delivery = recovered(done, is_redelivery=True, throttled_at=held)
    shown = page(signed_in("viewer"), f"/deliveries/{delivery.pk}/")
    assert "GitHub tried to deliver it" in shown
    assert "timed out (504) after 10.2 s, as a redelivery; GitHub held it back" in " ".join(shown.split())
    assert "2026-11-26 14:02:10 UTC" in shown
    assert "2026-11-26 14:01:40 UTC" in shown
    assert f"/recovery/passes/{done.pk}/" in shown
    assert "not signed: recovered" in shown
    assert "signature was verified" not in shown


def test_a_delivery_that_came_by_itself_shows_no_recovery() -> None:
    shown = page(signed_in("viewer"), f"/deliveries/{make_delivery().pk}/")
    assert "signature was verified" in shown
    assert "ecovered" not in shown.partition("<main")[2]


def test_a_recovered_delivery_whose_pass_is_no_longer_kept_has_no_link() -> None:
    shown = page(signed_in("viewer"), f"/deliveries/{recovered(None).pk}/")
    assert "Recovered from GitHub" in shown
    assert "/recovery/passes/" not in shown


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("deliveries", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_it_too() -> None:
    done = made_pass(made_log())
    delivery = recovered(done, throttled_at=AT)
    text = said(str(delivery.guid))
    assert "timed out (504) after 10.2 s" in text
    assert "held back 2026-11-26 14:02:10 UTC" in text
    assert "from GitHub's log" in text
    [found] = json.loads(said(str(delivery.guid), "--format", "json"))["deliveries"]
    assert found["recovery"]["delivered_at"] == AT.isoformat()
    assert found["recovery"]["pass"] == done.pk
    [other] = json.loads(said(str(make_delivery().guid), "--format", "json"))["deliveries"]
    assert other["recovery"] is None


def test_the_page_asks_as_much_however_many_passes_there_are() -> None:
    client = signed_in("viewer")
    log = made_log()
    made_pass(log)
    few = queries_of(lambda: page(client, "/recovery/"))
    for _ in range(200):
        made_pass(log)
        missed(log)
    assert queries_of(lambda: page(client, "/recovery/")) == few


def test_a_log_that_is_no_longer_read_is_deleted_with_its_passes_by_who_may() -> None:
    log = made_log()
    delivery = recovered(made_pass(log))
    missed(log)
    url = f"/admin/webhooks/hooklog/{log.pk}/delete/"
    assert client_of("view_hooklog").post(url, {"post": "yes"}).status_code == 403
    assert client_of("view_hooklog", "delete_hooklog").post(url, {"post": "yes"}).status_code == 302
    assert not any(model.objects.exists() for model in (HookLog, LogPass, MissedDelivery))
    assert Recovery.objects.get().delivery_id == delivery.pk


def test_a_delivery_that_the_release_before_has_removed_is_only_missing_from_the_list() -> None:
    done = made_pass(made_log(), recovered=2)
    removed, kept = recovered(done), recovered(done)
    Payload.objects.filter(pk=removed.pk).delete()
    with connection.cursor() as cursor:  # As it does, which knows nothing of recoveries.
        cursor.execute("DELETE FROM webhooks_delivery WHERE id = %s", [removed.pk])
    shown = page(signed_in("viewer"), f"/recovery/passes/{done.pk}/")
    assert f"/deliveries/{kept.pk}/" in shown
    assert f"/deliveries/{removed.pk}/" not in shown
