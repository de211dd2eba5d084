"""When a pass calls itself complete, and what it says when it cannot: gaps, bodies that are gone, answers that fail."""

import json
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.db import connection

from tests.support.github.limits import Fault, secondary_limit
from tests.support.github.log import KEPT, Hook
from tests.support.github.reading import PUSH, read
from tests.support.github.server import GitHub
from webhooks.models import Delivery, HookLog, Job, LogPass, MissedDelivery, Payload
from webhooks.reconciling import client

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

COMPLETE, INCOMPLETE, STOPPED = LogPass.State.COMPLETE, LogPass.State.INCOMPLETE, LogPass.State.STOPPED
HOUR = timedelta(hours=1)


@pytest.fixture
def known(hook: Hook) -> Hook:
    """A hook whose log was read an hour ago, so that an answer to the first call is no matter of learning."""
    HookLog.objects.create(
        source="github", hook="app", hook_id=hook.hook_id, complete_until=hook._now() - HOUR, completed_at=None
    )
    return hook


def test_a_first_pass_cannot_know_what_was_before_the_log_unless_the_app_is_younger(hook: Hook) -> None:
    hook.add("push", PUSH)
    done = read()
    assert (done.state, done.recovered) == (INCOMPLETE, 1)
    assert "has left its log unseen" in done.reason
    assert done.gap_from is not None
    assert done.gap_until is not None
    assert done.gap_from < done.gap_until
    assert read().state == COMPLETE, "From here on nothing was missed."


def test_a_log_that_was_not_read_for_three_days_has_a_gap_which_is_said_with_its_moments(
    github: GitHub, known: Hook
) -> None:
    github.ahead = timedelta(days=3, hours=5)
    known.add("push", PUSH)
    before = HookLog.objects.get().complete_until
    assert before is not None
    done = read()
    assert (done.state, done.recovered, done.gap_from) == (INCOMPLETE, 1, before)
    assert done.gap_until is not None
    assert abs(done.gap_until - (github.now() - KEPT)) < timedelta(seconds=30)
    assert f"from {before:%Y-%m-%d %H:%M} to {done.gap_until:%Y-%m-%d %H:%M} UTC" in done.reason


def test_an_empty_log_within_three_days_is_no_gap(github: GitHub, known: Hook) -> None:
    github.ahead = timedelta(days=2)
    assert read().state == COMPLETE
    assert HookLog.objects.get().completed_at is not None


def test_a_body_that_is_gone_is_named_and_the_pass_is_not_complete(known: Hook) -> None:
    gone = known.add("push", PUSH, is_gone=True)
    without_payload = known.add("push", PUSH)
    without_payload.payload = None
    known.add("push", PUSH)
    done = read()
    assert (done.state, done.recovered, done.lost) == (INCOMPLETE, 1, 2)
    assert done.reason == "2 deliveries cannot be recovered"
    missed = {one.guid: one for one in MissedDelivery.objects.all()}
    assert missed.keys() == {uuid.UUID(gone.guid), uuid.UUID(without_payload.guid)}
    assert {one.reason for one in missed.values()} == {MissedDelivery.Reason.GONE}
    assert missed[uuid.UUID(gone.guid)].delivered_at == gone.delivered_at.replace(microsecond=0)
    after = read()
    assert (after.state, after.lost) == (COMPLETE, 0), "They are named by the pass that found them."
    assert MissedDelivery.objects.count() == 2


def test_an_older_attempt_serves_if_the_newest_one_has_no_body_any_more(known: Hook) -> None:
    guid = str(uuid.uuid4())
    known.add("push", PUSH, guid=guid, delivered_at=known._now() - timedelta(minutes=5))
    known.add("push", PUSH, guid=guid, redelivery=True, is_gone=True)
    done = read()
    assert (done.state, done.recovered, done.lost) == (COMPLETE, 1, 0)
    assert not MissedDelivery.objects.exists()


def test_a_body_that_github_does_not_hand_out_is_tried_again_by_the_next_pass(github: GitHub, known: Hook) -> None:
    entry = known.add("push", PUSH)
    known.add("push", PUSH)
    github.faults.append(Fault(only=f"/{entry.id}", times=client.MOST_TRIES))
    done = read()
    assert (done.state, done.recovered, done.unfetched) == (INCOMPLETE, 1, 1)
    done = read()
    assert (done.state, done.recovered, done.unfetched) == (COMPLETE, 1, 0)
    assert (Delivery.objects.count(), MissedDelivery.objects.count()) == (2, 0)


def test_one_that_was_to_be_tried_again_and_is_gone_by_then_is_lost(github: GitHub, known: Hook) -> None:
    entry = known.add("push", PUSH)
    github.faults.append(Fault(only=f"/{entry.id}", times=client.MOST_TRIES))
    assert read().unfetched == 1
    entry.is_gone = True
    done = read()
    assert (done.state, done.unfetched, done.lost) == (INCOMPLETE, 0, 1)
    missed = MissedDelivery.objects.get()
    assert (missed.is_open, missed.reason) == (False, MissedDelivery.Reason.GONE)


@pytest.mark.parametrize(
    "fault", [Fault(times=99), Fault(status=403, message="Forbidden"), Fault(is_dropped=True, times=99)]
)
def test_what_was_to_be_tried_again_waits_on_while_github_refuses(github: GitHub, known: Hook, fault: Fault) -> None:
    entry = known.add("push", PUSH)
    github.faults.append(Fault(only=f"/{entry.id}", times=client.MOST_TRIES))
    read()
    fault.only = f"/{entry.id}"
    github.faults.append(fault)
    assert read().state == (STOPPED if fault.status == 403 else INCOMPLETE)
    assert MissedDelivery.objects.get().is_open
    github.faults.clear()
    assert (read().state, Delivery.objects.count()) == (COMPLETE, 1)


def test_a_redelivery_that_github_refuses_is_named(github: GitHub, known: Hook) -> None:
    known.add("push", PUSH, is_gone=True)
    failing = known.add("push", PUSH)
    github.faults.append(Fault(only=f"/{failing.id}/", times=client.MOST_TRIES))
    done = read(mode=LogPass.Mode.REDELIVER)
    assert (done.state, done.asked, done.lost, done.unfetched) == (INCOMPLETE, 0, 1, 1)
    done = read(mode=LogPass.Mode.REDELIVER)
    assert (done.state, done.asked, done.lost) == (COMPLETE, 1, 0)


def test_a_place_in_the_log_that_github_no_longer_knows_is_left_for_the_newest_entry(
    github: GitHub, known: Hook
) -> None:
    for _ in range(150):
        known.add("push", PUSH)
    limit = github.limits["app"]
    limit.limit = 160
    assert (read().state, Delivery.objects.count()) == (STOPPED, 126)
    limit.limit = 5_000
    LogPass.objects.update(cursor="v0_of_another_time")
    assert (read().state, Delivery.objects.count()) == (COMPLETE, 150)


def test_a_missed_delivery_that_comes_by_itself_is_forgotten(github: GitHub, known: Hook) -> None:
    entry = known.add("push", PUSH, is_gone=True)
    read()
    entry.is_gone = False
    assert read(since=known._now() - HOUR).recovered == 1
    assert not MissedDelivery.objects.exists()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=502, body=b"<html>Bad Gateway</html>"),
        Fault(is_dropped=True),
        Fault(silent_seconds=1.0),
    ],
    ids=["500", "502", "dropped", "slow"],
)
def test_what_fails_now_and_then_is_tried_again(
    github: GitHub, known: Hook, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(client, "SILENT_SECONDS", 0.5)
    known.add("push", PUSH)
    fault.times = client.MOST_TRIES - 1
    github.faults.append(fault)
    done = read()
    assert (done.state, done.recovered, done.calls) == (COMPLETE, 1, client.MOST_TRIES + 1)


def test_what_fails_every_time_stops_the_pass_which_the_next_one_goes_on_with(github: GitHub, known: Hook) -> None:
    known.add("push", PUSH)
    github.faults.append(Fault(times=client.MOST_TRIES))
    done = read()
    assert (done.state, done.reason, done.finished_at) == (STOPPED, "GitHub answers 500", None)
    done = read()
    assert (done.state, Delivery.objects.count()) == (COMPLETE, 1)
    assert LogPass.objects.filter(state=COMPLETE).count() == 2, "The one that stopped, and one for what came since."


def test_a_faulty_github_is_left_alone_after_a_few_deliveries(github: GitHub, known: Hook) -> None:
    for _ in range(9):
        known.add("push", PUSH)
    github.faults.append(Fault(only="/deliveries/", times=10_000))
    done = read()
    assert (done.state, done.unfetched) == (STOPPED, 3)
    assert len(github.asked("/deliveries/")) == 3 * client.MOST_TRIES
    github.faults.clear()
    read()
    assert (Delivery.objects.count(), MissedDelivery.objects.count()) == (9, 0)


@pytest.mark.parametrize(("status", "said"), [(401, "Bad credentials"), (403, "Must have admin rights"), (404, "Not")])
def test_a_page_that_is_refused_is_said_with_what_github_said(
    github: GitHub, known: Hook, status: int, said: str
) -> None:
    github.faults.append(Fault(status=status, message=said))
    done = read()
    assert (done.state, done.reason) == (STOPPED, f"GitHub answers {status}: {said}")


def test_a_clock_that_is_wrong_is_named_where_the_token_is_refused(github: GitHub, known: Hook) -> None:
    github.ahead = timedelta(minutes=12)
    github.app.now = lambda: github.now().timestamp()
    assert "clock and this one are 7" in read().reason


@pytest.mark.parametrize("app_id", ["4712", "Iv23liSomething"])
def test_the_token_of_another_app_is_refused(github: GitHub, known: Hook, settings: Any, app_id: str) -> None:
    given = settings.HOOKLINE_GITHUB_ACCESS["github"]
    settings.HOOKLINE_GITHUB_ACCESS = {"github": {**given, "app_id": app_id}}
    done = read()
    assert (done.state, done.reason) == (STOPPED, "GitHub answers 401: 'Issuer' claim ('iss') must be an Integer")


class Waited(list[float]):
    """How long a pass was to wait; it does not."""


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> Waited:
    seen = Waited()
    monkeypatch.setattr(client.Client, "_pause", lambda _self, seconds: seen.append(round(seconds)))
    return seen


@pytest.mark.parametrize("status", [403, 429])
def test_a_secondary_limit_is_waited_for_as_long_as_github_says(
    github: GitHub, known: Hook, waited: Waited, status: int
) -> None:
    known.add("push", PUSH)
    github.faults.append(secondary_limit(seconds=77, status=status, only="/deliveries/"))
    done = read()
    assert (done.state, done.recovered, waited) == (COMPLETE, 1, [77])


def test_a_secondary_limit_that_names_no_time_is_a_minute(github: GitHub, known: Hook, waited: Waited) -> None:
    limit = secondary_limit(seconds=0)
    limit.headers = {}
    github.faults.append(limit)
    assert read().state == COMPLETE
    assert waited == [60]


@pytest.mark.parametrize("named", ["86400", "-5", "soon", "inf", "Fri, 27 Nov 2026 08:00:00 GMT"])
def test_a_limit_that_ends_far_away_or_says_nonsense_does_not_hold_the_pass_for_long(
    github: GitHub, known: Hook, waited: Waited, named: str
) -> None:
    limit = secondary_limit(seconds=0)
    limit.headers = {"retry-after": named}
    github.faults.append(limit)
    done = read()
    assert (done.state, waited) == ((STOPPED, []) if named == "86400" else (COMPLETE, [60]))


def test_a_limit_without_an_end_stops_the_pass(github: GitHub, known: Hook, waited: Waited) -> None:
    github.faults.append(secondary_limit(seconds=1, times=10_000))
    done = read()
    assert (done.state, len(waited)) == (STOPPED, client.MOST_WAITS - 1)
    assert done.reason.startswith("GitHub has a rate limit")


def test_the_primary_limit_stops_a_pass_in_the_middle_which_goes_on_after_its_end(
    github: GitHub, known: Hook, waited: Waited
) -> None:
    entries = [known.add("push", PUSH, delivered_at=known._now() - timedelta(seconds=9 * n)) for n in range(150)]
    limit = github.limits["app"]
    limit.limit, limit.used = 100, 0
    done = read()
    assert (done.state, done.recovered) == (STOPPED, 79), "A page and 79 bodies; the last fifth is for handlers."
    assert done.reason.startswith("GitHub keeps no call but those in reserve; the next call is possible in 3")
    assert limit.used == 80
    assert read().calls == done.calls + 1, "Nothing is asked of GitHub but whether its limit has ended."
    limit.limit, limit.used = 5_000, 0
    assert read().state == COMPLETE
    assert Delivery.objects.count() == Job.objects.count() == len(entries)
    asked = github.asked("/deliveries/")
    assert len(asked) == len(set(asked)), "No body was fetched twice."


def test_a_limit_that_others_have_spent_is_heeded_at_the_first_answer(
    github: GitHub, known: Hook, waited: Waited
) -> None:
    known.add("push", PUSH)
    github.limits["app"].used = 4_100
    assert read().state == STOPPED
    assert len(github.calls) == 1


def test_a_limit_that_is_spent_and_ends_soon_is_waited_for(github: GitHub, known: Hook, waited: Waited) -> None:
    known.add("push", PUSH)
    limit = github.limits["app"]
    limit.used, limit.reset_at = limit.limit, github.now().timestamp() + 2
    read()
    assert waited
    assert 1 <= waited[0] <= 4


HOSTILE: dict[str, Callable[[], Any]] = {
    "a list": lambda: [1, 2],
    "a text": lambda: "push",
    "a number": lambda: 7,
    "false": lambda: False,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_payload_that_is_no_object_is_named_as_unreadable(known: Hook, kind: str) -> None:
    entry = known.add("push", PUSH)
    entry.payload = HOSTILE[kind]()
    done = read()
    assert (done.state, done.lost) == (INCOMPLETE, 1)
    assert MissedDelivery.objects.get().reason == MissedDelivery.Reason.UNREADABLE


def test_a_payload_over_the_limit_is_named_and_one_of_twenty_megabytes_taken_in(known: Hook, settings: Any) -> None:
    settings.HOOKLINE_MAX_BODY_MB = 21
    for megabytes in (20, 22):
        known.add("push", {**PUSH, "text": "é" * (megabytes * 1024 * 1024 // 2 - 1_000)})
    done = read()
    assert (done.state, done.recovered, done.lost) == (INCOMPLETE, 1, 1)
    assert Delivery.objects.get().body_bytes > 20_000_000


def test_texts_that_no_database_holds_are_taken_in_without_them(known: Hook) -> None:
    """As by the receiver: the body is kept as bytes, and a column stays empty."""
    payload = {**PUSH, "sender": {"login": "a\0b"}, "cut": "\ud83d", "huge": 10**400, "action": "x" * 300}
    entry = known.add("push", payload, action="opened\0")
    entry.headers = {
        **(entry.headers or {}),
        "User-Agent": "a\0b",
        "X-GitHub-Enterprise-Host": "h" * 5_000,
        "Accept": 7,
    }
    entry.headers |= {"x-github-event": "star", "X-GITHUB-DELIVERY": "no guid", "content-type": "text/evil"}
    assert read().recovered == 1
    delivery = Delivery.objects.get()
    assert (delivery.event, delivery.action, delivery.sender, str(delivery.guid)) == ("push", "", "", entry.guid)
    assert delivery.headers["Content-Type"] == "application/json"
    assert "User-Agent" not in delivery.headers
    assert len(delivery.headers["X-GitHub-Enterprise-Host"]) == 200
    body = json.loads(bytes(Payload.objects.get().body))
    assert (body["cut"], body["sender"]) == ("\ufffd", {"login": "a\0b"})


@pytest.mark.parametrize(("depth", "is_taken"), [(300, True), (900, True), (2_000, False)])
def test_a_payload_that_nests_deeply_is_taken_in_or_named(
    github: GitHub, known: Hook, depth: int, is_taken: bool
) -> None:
    entry = known.add("push", PUSH)
    known.add("push", PUSH)
    nested = b'{"request": {"headers": {}, "payload": {"nested": %b%b}}}' % (b"[" * depth, b"]" * depth)
    github.faults.append(Fault(status=200, body=nested, only=f"/{entry.id}"))
    done = read()
    assert (done.recovered, done.lost) == ((2, 0) if is_taken else (1, 1))


def test_an_entry_out_of_its_place_does_not_end_the_walk(github: GitHub, known: Hook) -> None:
    old = known.add("push", PUSH, delivered_at=known._now() - timedelta(days=1))
    found = known.add("push", PUSH, delivered_at=known._now() - timedelta(minutes=30))
    known.add("star")
    page = [known.entries()[0].in_list(), old.in_list(), known.add("star").in_list()]
    link = {"Link": f'<{github.url}/app/hook/deliveries?per_page=100&cursor=v1_{known.entries()[1].id}>; rel="next"'}
    github.faults.append(Fault(status=200, body=json.dumps(page).encode(), headers=link, only="/deliveries?"))
    assert read().recovered == 1
    assert Delivery.objects.get().guid == uuid.UUID(found.guid)


def test_a_clock_of_github_s_that_is_ahead_does_not_move_the_mark_into_the_future(github: GitHub, known: Hook) -> None:
    github.ahead = timedelta(days=2)
    read()
    github.ahead = timedelta()
    known.add("push", PUSH)
    assert read().recovered == 1


@pytest.mark.parametrize("headers", [None, {}, {"X-GitHub-Hook-ID": "12x"}, {"X-GitHub-Hook-ID": str(2**70)}])
def test_headers_that_are_missing_or_nonsense_are_no_number_of_a_hook(known: Hook, headers: Any) -> None:
    entry = known.add("push", PUSH)
    entry.headers = headers
    done = read()
    assert done.lost + done.recovered == 1
    assert done.lost == (1 if headers else 0)


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, {"id": "x"}])
def test_an_entry_of_another_form_is_said_and_does_not_end_the_pass(github: GitHub, known: Hook, value: Any) -> None:
    entry = known.add("push", PUSH)
    page = json.dumps([value, entry.in_list()]).encode()
    github.faults.append(Fault(status=200, body=page, only="/deliveries?"))
    done = read()
    assert (done.state, done.recovered, done.reason) == (INCOMPLETE, 1, "1 of a page's entries cannot be read")


@pytest.mark.parametrize("body", [b"{}", b"null", b"", b"[", b"\xff", b"[" * 5_000])
def test_a_page_of_another_form_stops_the_pass(github: GitHub, known: Hook, body: bytes) -> None:
    github.faults.append(Fault(status=200, body=body, only="/deliveries?"))
    done = read()
    assert (done.state, done.lost) == (STOPPED, 0)
    assert done.reason.startswith("GitHub answers with what is no ")


def test_an_answer_that_comes_too_slowly_is_given_up(
    github: GitHub, known: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", -1.0)
    assert read().reason == "GitHub does not end its answer in time"


@pytest.mark.parametrize("said", ["", "yesterday", "Fri, 99 Nov 2026 08:00:00 GMT"])
def test_an_answer_without_a_time_counts_as_given_now(github: GitHub, known: Hook, said: str) -> None:
    page = b"[]"
    github.faults.append(Fault(status=200, body=page, headers={"Date": said}, only="/deliveries?"))
    done = read()
    assert done.state == COMPLETE
    assert done.until is not None
    assert abs(done.until - github.now()) < timedelta(seconds=30)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"created_at": 7}', b'{"created_at": "soon"}', b'{"created_at": null}', b"[]"]
)
def test_an_app_that_does_not_say_since_when_it_is_proves_nothing(github: GitHub, hook: Hook, body: bytes) -> None:
    github.faults.append(Fault(status=200, body=body, only="/app", times=0))
    hook.created_at = hook._now()
    assert read(is_dry_run=True).state == COMPLETE
    github.faults.append(Fault(status=200, body=b"[]", only="/deliveries?"))
    github.faults.append(Fault(status=200, body=body, only="/app"))
    done = read()
    assert (done.state, done.gap_from) == (INCOMPLETE, None)
    assert done.reason.startswith("what GitHub sent before 2")


def test_a_dry_run_that_github_stops_says_so(github: GitHub, known: Hook) -> None:
    github.faults.append(Fault(status=401, message="Bad credentials"))
    done = read(is_dry_run=True)
    assert (done.state, done.reason) == (STOPPED, "GitHub answers 401: Bad credentials")
    known.add("push", PUSH)
    assert read(is_dry_run=True, mode=LogPass.Mode.REDELIVER).asked == 1
    assert not LogPass.objects.exists()


def test_an_answer_without_an_end_is_given_up(github: GitHub, known: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LARGEST_ANSWER", 1_000)
    known.add("push", {**PUSH, "text": "x" * 2_000})
    done = read()
    assert (done.lost, MissedDelivery.objects.get().reason) == (1, MissedDelivery.Reason.UNREADABLE)


def test_a_log_that_leads_in_a_circle_is_left(github: GitHub, known: Hook) -> None:
    for _ in range(150):
        known.add("star")
    page = github.answer("GET", "/app/hook/deliveries?per_page=100", _signed(github))
    link = {"Link": page[2]["Link"]}
    github.faults.append(Fault(status=200, body=json.dumps(page[1]).encode(), headers=link, times=10_000))
    done = read()
    assert (done.state, done.reason) == (STOPPED, "GitHub leads round in a circle through its log")


def _signed(github: GitHub) -> dict[str, str]:
    now = int(time.time())
    claims = {"iss": str(github.app.number), "iat": now, "exp": now + 60}
    return {"Authorization": f"Bearer {jwt.encode(claims, github.app.private_key, algorithm='RS256')}"}


def test_a_row_that_the_database_refuses_is_named_and_the_others_are_taken_in(known: Hook) -> None:
    refused, stored = known.add("push", PUSH), known.add("push", {**PUSH, "sender": {"login": "ana"}})
    with connection.cursor() as cursor:
        _refuse(cursor, "octo")
    try:
        done = read()
    finally:
        with connection.cursor() as cursor:
            _refuse(cursor, None)
    assert (done.state, done.recovered, done.lost) == (INCOMPLETE, 1, 1)
    assert Delivery.objects.get().guid == uuid.UUID(stored.guid)
    missed = MissedDelivery.objects.get()
    assert (missed.guid, missed.reason) == (uuid.UUID(refused.guid), MissedDelivery.Reason.REFUSED)


def _refuse(cursor: Any, sender: str | None) -> None:
    """Have the database refuse deliveries of this sender, or no more."""
    if connection.vendor == "sqlite":
        cursor.execute("DROP TRIGGER IF EXISTS refuse")
        if sender:
            cursor.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON webhooks_delivery WHEN NEW.sender = 'octo' "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        return
    cursor.execute("ALTER TABLE webhooks_delivery DROP CONSTRAINT IF EXISTS refuse")
    if sender:
        cursor.execute("ALTER TABLE webhooks_delivery ADD CONSTRAINT refuse CHECK (sender <> 'octo') NOT VALID")
