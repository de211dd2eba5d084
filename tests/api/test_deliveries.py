"""What the API hands out: by GUID, by pull request in order of arrival, in bounded parts; and the audit of it."""

import base64
import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.support.inbox_rows import make_delivery, queries_of
from tests.support.tokens import asked, token_of
from webhooks.api import handed_out, views, walk
from webhooks.encryption import new_key
from webhooks.inbox.kept_bodies import sealed
from webhooks.models import Change, Delivery, Payload, Source

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

SEVEN = "/api/pull-requests/acme/widgets/7"


def answered(path: str, token: str) -> Any:
    response = asked(path, token)
    assert response.status_code == 200, response.content
    assert "no-store" in response.headers["Cache-Control"]
    return response.json()


def of_pull_request(number: int, event: str = "pull_request", **columns: Any) -> Delivery:
    body = json.dumps({"pull_request": {"number": number}}).encode()
    return make_delivery(body, event=event, **columns)


def every_part(path: str, token: str) -> list[Any]:
    parts = [answered(path, token)]
    while parts[-1]["next"] is not None:
        parts.append(answered(f"{path}?after={parts[-1]['next']}", token))
    return parts


def ids(parts: list[Any]) -> list[int]:
    return [one["id"] for part in parts for one in part["deliveries"]]


def test_every_delivery_of_a_guid_is_handed_out_with_what_was_received() -> None:
    guid, token = uuid.uuid4(), token_of("operator")
    first = make_delivery(b'{"zen": "\\u00e9 \xc3\xa9"}', guid=guid, action="opened")
    Delivery.objects.filter(pk=first.pk).update(source=Source.objects.create(name="ghes"))
    first.refresh_from_db()
    second = make_delivery(b"\xff\xfe", guid=guid, hook_id=9)
    said = answered(f"/api/deliveries/{guid}", token)
    assert said["hookline"] == 1
    assert said["next"] is None
    one, other = said["deliveries"]
    assert (one["source"], one["hook_id"], one["event"], one["action"]) == ("ghes", 1, "push", "opened")
    assert one["guid"] == str(guid)
    assert datetime.fromisoformat(one["received_at"]) == first.received_at
    assert one["headers"] == {"Content-Type": "application/json"}
    assert (one["encoding"], one["body"].encode(), one["gone"]) == ("text", b'{"zen": "\\u00e9 \xc3\xa9"}', None)
    assert (other["id"], other["encoding"], base64.b64decode(other["body"])) == (second.pk, "base64", b"\xff\xfe")


def test_a_pruned_payload_is_said_with_the_setting_that_pruned_it(settings: Any) -> None:
    settings.HOOKLINE_KEEP_PAYLOADS_DAYS = 3
    delivery = make_delivery(None)
    [one] = answered(f"/api/deliveries/{delivery.guid}", token_of("operator"))["deliveries"]
    assert one["body"] is None
    assert "HOOKLINE_KEEP_PAYLOADS_DAYS is 3" in one["gone"]


def test_who_took_which_payload_is_recorded_and_what_was_gone_is_not() -> None:
    guid, token = uuid.uuid4(), token_of("operator")
    taken = make_delivery(guid=guid)
    make_delivery(None, guid=guid, hook_id=2)
    answered(f"/api/deliveries/{guid}", token)
    change = Change.objects.get(action="take_payload")
    assert change.who == "operator"
    assert f"delivery {taken.pk}, GUID {guid}" in change.scope
    assert "“laptop”" in change.scope


def test_many_deliveries_of_a_guid_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_OF_GUID", 2)
    guid = uuid.uuid4()
    made = [make_delivery(guid=guid, hook_id=hook).pk for hook in range(1, 6)]
    parts = every_part(f"/api/deliveries/{guid}", token_of("operator"))
    assert ids(parts) == made
    assert len(parts) == 3


def test_large_bodies_come_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed_out, "MOST_BYTES", 100)
    guid = uuid.uuid4()
    made = [make_delivery(b"x" * 90, guid=guid, hook_id=hook).pk for hook in (1, 2)]
    made += [make_delivery(b"x" * 5, guid=guid, hook_id=3).pk]
    parts = every_part(f"/api/deliveries/{guid}", token_of("operator"))
    assert ids(parts) == made
    assert [len(part["deliveries"]) for part in parts] == [1, 2]


def test_a_pull_requests_deliveries_come_in_order_of_arrival_and_no_others() -> None:
    now = timezone.now()
    late = of_pull_request(7, received_at=now - timedelta(hours=1))
    early = of_pull_request(7, event="pull_request_review", received_at=now - timedelta(hours=2))
    comment = json.dumps({"issue": {"number": 7, "pull_request": {}}}).encode()
    middle = make_delivery(comment, event="issue_comment", received_at=now - timedelta(minutes=90))
    checks = json.dumps({"check_run": {"pull_requests": [{"number": 7}]}}).encode()
    last = make_delivery(checks, event="check_run", received_at=now - timedelta(minutes=30))
    of_pull_request(8)
    of_pull_request(7, repository="acme/other")
    make_delivery(json.dumps({"issue": {"number": 7}}).encode(), event="issues")
    make_delivery(json.dumps({"pull_request": {"number": 7}}).encode(), event="push")
    make_delivery(b"no JSON", event="pull_request")
    said = answered(SEVEN, token_of("operator"))
    assert ids([said]) == [early.pk, middle.pk, late.pk, last.pk]
    assert (said["next"], said["pruned"], said["too_large"]) == (None, 0, 0)


@pytest.mark.parametrize(("bound", "value"), [("MOST_ROWS", 3), ("MOST_READ", 2), ("MOST_FOUND", 1)])
def test_the_parts_of_a_walk_hold_each_delivery_once(monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    monkeypatch.setattr(walk, bound, value)
    at = timezone.now() - timedelta(hours=1)
    # Several of one moment: a part may end between them.
    made = [of_pull_request(number, received_at=at + timedelta(seconds=n // 3)) for n, number in enumerate([7, 8] * 5)]
    parts = every_part(SEVEN, token_of("operator"))
    assert ids(parts) == [one.pk for one in made[::2]]
    assert len(parts) > 1


def test_a_part_ends_where_its_bodies_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed_out, "MOST_BYTES", 40)
    made = [of_pull_request(7).pk for _ in range(3)]
    parts = every_part(SEVEN, token_of("operator"))
    assert ids(parts) == made
    assert len(parts) == 3


def test_what_the_walk_could_not_read_is_counted(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.HOOKLINE_KEEP_PAYLOADS_DAYS = 2
    monkeypatch.setattr(walk, "LARGEST_READ", 1_000)
    make_delivery(None, event="pull_request")
    make_delivery(b"x" * 1_001, event="pull_request")
    of_pull_request(7, received_at=timezone.now() - timedelta(days=3))
    said = answered(SEVEN, token_of("operator"))
    assert (said["deliveries"], said["pruned"], said["too_large"]) == ([], 1, 1)
    assert said["keep_payloads_days"] == 2
    since = timezone.now() - datetime.fromisoformat(said["since"])
    assert timedelta(days=2) <= since < timedelta(days=2, minutes=5)


def test_encrypted_payloads_are_handed_out_in_clear_and_found_by_their_pull_request(settings: Any) -> None:
    settings.HOOKLINE_PAYLOAD_KEYS, token = [new_key()], token_of("operator")
    wanted = of_pull_request(7)
    payload = Payload.objects.get(pk=wanted.pk)
    clear = bytes(payload.body)
    Payload.objects.filter(pk=wanted.pk).update(body=sealed(clear))
    for path in (f"/api/deliveries/{wanted.guid}", SEVEN):
        [one] = answered(path, token)["deliveries"]
        assert (one["encoding"], one["body"].encode(), one["gone"]) == ("text", clear, None)


def test_a_payload_whose_key_is_gone_is_said_to_be_unreadable(settings: Any) -> None:
    settings.HOOKLINE_PAYLOAD_KEYS, token = [new_key()], token_of("operator")
    lost = of_pull_request(7)
    Payload.objects.filter(pk=lost.pk).update(body=sealed(b'{"pull_request": {"number": 7}}'))
    settings.HOOKLINE_PAYLOAD_KEYS = [new_key()]
    kept = of_pull_request(7)
    said = answered(SEVEN, token)
    assert ([one["id"] for one in said["deliveries"]], said["unreadable"], said["pruned"]) == ([kept.pk], 1, 0)
    [one] = answered(f"/api/deliveries/{lost.guid}", token)["deliveries"]
    assert one["body"] is None
    assert "HOOKLINE_PAYLOAD_KEYS" in one["gone"]
    assert Change.objects.filter(action="take_payload", scope__contains=str(lost.guid)).count() == 0


def test_deliveries_of_one_millisecond_are_not_lost_between_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MOST_FOUND", 1)
    made = [of_pull_request(7).pk for _ in range(20)]
    assert ids(every_part(SEVEN, token_of("operator"))) == made


def test_a_place_that_is_none_is_refused() -> None:
    token = token_of("operator")
    for place in ("x", "1", ".", "9" * 18 + ".1", "1." + "9" * 19, "é.1"):
        assert asked(f"{SEVEN}?after={place}", token).status_code == 400, place
        assert asked(f"/api/deliveries/{uuid.uuid4()}?after={place}x", token).status_code == 400


def test_a_walk_asks_as_much_whatever_else_is_in_the_inbox() -> None:
    token = token_of("operator")
    of_pull_request(7)
    answered(SEVEN, token)
    few = queries_of(lambda: answered(SEVEN, token))
    for _ in range(50):
        make_delivery(event="push")
        of_pull_request(7, repository="acme/other")
    assert queries_of(lambda: answered(SEVEN, token)) == few
