"""Replays: what is in one, how it is counted, carried out, paused and cancelled, and what a crash leaves of it."""

import json
import uuid
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.inbox_rows import make_delivery, make_job, new_delivery
from webhooks.inbox import audit, missing, retention, transitions
from webhooks.inbox.replays import counting, life, running, scope
from webhooks.inbox.replays.life import ask, cancel, go_on, pause
from webhooks.inbox.replays.scope import Scope, ScopeError
from webhooks.inbox.store import store
from webhooks.models import Change, Delivery, Job, Payload, Replay, ReplayItem
from webhooks.states import JobState
from webhooks.subscriptions import installed
from webhooks.subscriptions.subscription import Backoff, Subscription, Subscriptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WHO: Any = {"who": "ana", "reason": "the mail server is back"}


def subscription(name: str, **values: Any) -> Subscription:
    usual: dict[str, Any] = {
        "name": name,
        "handler": lambda _event: None,
        "events": frozenset({"push"}),
        "actions": None,
        "where": {},
        "queue": "default",
        "time_limit": 30,
        "soft_time_limit": 20,
        "max_attempts": 3,
        "backoff": Backoff(),
        "takes_run": False,
    }
    return Subscription(**usual | values)


COUNT, BILL = subscription("shop.count"), subscription("shop.bill", queue="io")
ONCE = subscription("shop.once", once_per_event=True)
MAIN = subscription("shop.main", where={"ref": "refs/heads/main"})


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_subscriptions", Subscriptions([COUNT, BILL, ONCE, MAIN]))


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows are several slices."""
    monkeypatch.setattr(scope, "SLICE", 3)
    monkeypatch.setattr(scope, "BODIES_AT_ONCE", 2)


def dead(count: int, **columns: Any) -> list[Job]:
    return [make_job(JobState.DEAD, **columns) for _ in range(count)]


def a_second_later() -> None:
    Replay.objects.update(released_at=F("released_at") - timedelta(seconds=1))


def end_all(state: str = JobState.SUCCEEDED, **columns: Any) -> None:
    """End the jobs that replays have queued, as a worker would."""
    waiting = Job.objects.filter(queue__endswith="/replay", state=JobState.QUEUED)
    waiting.update(state=state, publish_at=None, finished_at=Now(), attempt=F("attempt") + 1, **columns)


def run_to_the_end(replay: Replay) -> Replay:
    for _ in range(100):
        running.step()
        end_all()
        a_second_later()
        replay.refresh_from_db()
        if replay.state == Replay.State.FINISHED:
            return replay
    raise AssertionError(f"{replay.state}: {replay.released} of {replay.total}")


def figures(replay: Replay) -> tuple[str, int | None, int, int, int]:
    replay.refresh_from_db()
    return replay.state, replay.total, replay.done, replay.failed, replay.skipped


# --- Jobs run again ---------------------------------------------------------------------------------------------------


def test_dead_jobs_run_again_behind_the_live_ones_of_their_queues_and_the_others_are_left() -> None:
    first, second = dead(4), dead(3, handler="shop.bill", queue="io")
    others = [make_job(state) for state in (JobState.SUCCEEDED, JobState.SKIPPED, JobState.QUEUED, JobState.RETRYING)]
    replay = ask(Scope(), **WHO)
    assert (replay.total, replay.by_handler) == (7, {"shop.bill": 3, "shop.count": 4})
    running.step()
    queued = Job.objects.filter(pk__in=[job.pk for job in first + second])
    assert Counter(queued.values_list("state", "queue")) == {
        ("queued", "default/replay"): 4, ("queued", "io/replay"): 3,
    }  # fmt: skip
    assert run_to_the_end(replay).released == 7
    assert figures(replay) == ("finished", 7, 7, 0, 0)
    assert not ReplayItem.objects.exists()
    untouched = Job.objects.filter(pk__in=[job.pk for job in others])
    assert set(untouched.values_list("queue", "attempt")) == {("default", 0)}


def test_a_replay_never_grows_what_dies_or_comes_after_it_was_confirmed_is_not_in_it() -> None:
    dead(2)
    dies_later = make_job(JobState.QUEUED)
    replay = ask(Scope(), **WHO)
    connection.close()
    Job.objects.filter(pk=dies_later.pk).update(
        state=JobState.DEAD, publish_at=None, finished_at=Now() + timedelta(seconds=1)
    )
    comes_later = make_job(JobState.DEAD, finished_at=timezone.now() - timedelta(days=1))
    run_to_the_end(replay)
    assert figures(replay) == ("finished", 2, 2, 0, 0)
    left = Job.objects.filter(pk__in=[dies_later.pk, comes_later.pk])
    assert set(left.values_list("state", flat=True)) == {JobState.DEAD}


FILTERS: list[tuple[dict[str, Any], int]] = [
    ({"handler": "shop.count"}, 3),
    ({"event": "issues"}, 1),
    ({"event": "issues", "action": "closed"}, 0),
    ({"action": "opened"}, 1),
    ({"repository": "acme/anvils"}, 1),
    ({"installation_id": 7}, 1),
    ({"fingerprint": "f" * 16}, 1),
    ({"since": timezone.now() - timedelta(hours=1)}, 3),
    ({"until": timezone.now() - timedelta(hours=1)}, 1),
    ({"state": "skipped"}, 1),
    ({"state": "succeeded"}, 1),
]


@pytest.mark.parametrize(("given", "count"), FILTERS, ids=[" ".join(given) for given, _ in FILTERS])
def test_a_filter_counts_what_is_then_run_and_lasts_as_json(given: dict[str, Any], count: int) -> None:
    old = make_delivery(received_at=timezone.now() - timedelta(hours=2), event="issues", action="opened")
    make_job(JobState.DEAD, delivery=old, created_at=old.received_at)
    make_job(JobState.DEAD, delivery=make_delivery(repository="acme/anvils"), handler="shop.bill")
    make_job(JobState.DEAD, delivery=make_delivery(installation_id=7))
    make_job(JobState.DEAD, fingerprint="f" * 16)
    make_job(JobState.SKIPPED)
    make_job(JobState.SUCCEEDED)
    chosen = Scope(**given)
    assert Scope.from_json(json.loads(json.dumps(chosen.as_json()))) == chosen
    replay = ask(chosen, **WHO)
    assert replay.total == count
    assert run_to_the_end(replay).released == count


def test_jobs_without_a_payload_are_told_apart_and_left() -> None:
    dead(1)
    make_job(JobState.DEAD, delivery=make_delivery(body=None))
    replay = ask(Scope(), **WHO)
    assert (replay.total, replay.without_payload) == (1, 1)
    run_to_the_end(replay)
    assert figures(replay) == ("finished", 1, 1, 0, 0)


def test_a_job_that_changed_before_its_turn_is_counted_as_skipped() -> None:
    dead(4)
    replay = ask(Scope(), rate=1, **WHO)
    running.step()
    transitions.give_up(Job.objects.filter(state=JobState.DEAD, pk__in=Job.objects.order_by("-pk").values("pk")[:1]))
    run_to_the_end(replay)
    assert figures(replay) == ("finished", 4, 3, 0, 1)


def test_what_dies_again_stands_among_the_errors_with_the_reason() -> None:
    jobs = dead(2)
    replay = ask(Scope(), **WHO)
    running.step()
    Job.objects.filter(pk=jobs[0].pk).update(
        state=JobState.DEAD, publish_at=None, finished_at=Now(), error="ValueError: again", attempt=1
    )
    run_to_the_end(replay)
    assert figures(replay) == ("finished", 2, 1, 1, 0)
    [item] = replay.items.all()
    assert (item.job_id, item.delivery_id, item.error) == (jobs[0].pk, jobs[0].delivery_id, "ValueError: again")


def test_it_queues_no_more_than_its_rate_allows() -> None:
    dead(9)
    replay = ask(Scope(), rate=2, **WHO)
    counts = []
    for _ in range(3):
        running.step()
        running.step()  # In the same second.
        counts.append(Job.objects.filter(state=JobState.QUEUED).count())
        a_second_later()
    assert counts == [2, 4, 6]
    assert replay.rate == 2


def test_what_a_rate_allows_follows_from_the_last_time() -> None:
    now = timezone.now()

    def after(seconds: float, rate: float) -> int:
        return running.allowance(rate, now - timedelta(seconds=seconds), now=now)

    assert running.allowance(25, None, now=now) == 25
    assert [after(1.0, 10), after(0.5, 10), after(0.01, 10), after(3600, 10)] == [10, 5, 0, 20]
    assert [after(5, 0.1), after(10, 0.1), after(3600, 0.1)] == [0, 1, 1]


def test_while_too_many_of_its_jobs_have_not_ended_it_queues_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MOST_OPEN", 3)
    dead(7)
    replay = ask(Scope(), rate=100, **WHO)
    for _ in range(3):
        running.step()
        a_second_later()
    assert Job.objects.filter(state=JobState.QUEUED).count() == 3
    assert figures(run_to_the_end(replay)) == ("finished", 7, 7, 0, 0)


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_crash_between_and_within_batches_loses_nothing_and_queues_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, is_missing: bool
) -> None:
    for _ in range(8):
        delivery = make_delivery()
        if not is_missing:
            make_job(JobState.DEAD, delivery=delivery)
    chosen = Scope(handler="shop.count", is_missing=is_missing)
    replay = ask(chosen, rate=2, **WHO)
    items = ReplayItem.objects

    def crash(*_arguments: Any, **_values: Any) -> None:
        raise KeyboardInterrupt

    for _ in range(4):
        with monkeypatch.context() as crashing:
            crashing.setattr(audit, "note_jobs", crash)
            with suppress(KeyboardInterrupt):
                running.step()
        queued = Job.objects.filter(state=JobState.QUEUED).count()
        running.step()
        assert Job.objects.filter(state=JobState.QUEUED).count() == queued + 2 == items.count()
        a_second_later()
    end_all()
    running.step()
    assert figures(replay) == ("finished", 8, 8, 0, 0)
    assert set(Job.objects.values_list("attempt", "state")) == {(1, "succeeded")}
    assert Change.objects.get(action="replay").jobs.count() == 8


def test_one_relay_at_a_time_carries_a_replay_out() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    from concurrent.futures import ThreadPoolExecutor

    dead(2)
    replay = ask(Scope(), **WHO)

    def another() -> int:
        try:
            running.advance(replay.pk)
            return Job.objects.filter(state=JobState.QUEUED).count()
        finally:
            connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        assert life.locked(replay.pk) is not None
        assert pool.submit(another).result() == 0
    running.step()
    assert Job.objects.filter(state=JobState.QUEUED).count() == 2


# --- Counting ---------------------------------------------------------------------------------------------------------


def test_a_count_that_has_to_stop_says_so_and_the_relay_counts_on_before_anything_runs() -> None:
    dead(10)
    counted = counting.count(Scope(), counting.freeze(Scope()), seconds=0)
    assert (counted.is_complete, counted.total) == (False, 3)
    assert counting.received_at(Scope(), counted) == Job.objects.order_by("pk")[2].created_at
    replay = ask(Scope(), count_seconds=0, **WHO)
    uncounted: int | None = replay.total
    assert uncounted is None
    running.step()
    assert not Job.objects.filter(state=JobState.QUEUED).exists()
    replay.refresh_from_db()
    assert (replay.total, replay.by_handler) == (10, {"shop.count": 10})
    assert Change.objects.get().count == 10
    run_to_the_end(replay)
    assert figures(replay) == ("finished", 10, 10, 0, 0)


def test_of_two_relays_that_count_one_is_heard() -> None:
    dead(10)
    replay = ask(Scope(), count_seconds=0, **WHO)
    late = Replay.objects.get(pk=replay.pk)
    running.step()
    counted = counting.count(Scope(), counting.freeze(Scope()), seconds=0)
    assert not life.take_count(late, counted)
    assert Replay.objects.get(pk=replay.pk).total == 10


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (Scope(state="queued"), "Only jobs that are dead, skipped or succeeded"),
        (Scope(is_missing=True), "name it"),
        (Scope(is_missing=True, handler="shop.gone"), "No installed app has a handler named shop.gone."),
        (Scope(is_missing=True, handler="shop.bill", fingerprint="f"), "fingerprint"),
        (Scope(since=timezone.now(), until=timezone.now() - timedelta(days=1)), "ends before it begins"),
    ],
)
def test_filters_that_make_no_replay_are_refused(chosen: Scope, words: str) -> None:
    with pytest.raises(ScopeError, match=words):
        ask(chosen, **WHO)
    assert not Replay.objects.exists()


# --- Pause, continue, cancel ------------------------------------------------------------------------------------------


def test_a_paused_replay_queues_nothing_what_it_has_queued_ends_and_it_goes_on() -> None:
    dead(4)
    replay = ask(Scope(), rate=1, **WHO)
    running.step()
    assert pause(replay.pk, who="ben", reason="look first")
    assert not pause(replay.pk, who="ben")
    a_second_later()
    end_all()
    running.step()
    assert figures(replay) == ("paused", 4, 1, 0, 0)
    assert Job.objects.filter(state=JobState.DEAD).count() == 3
    assert go_on(replay.pk, who="ben")
    assert not go_on(replay.pk, who="ben")
    assert figures(run_to_the_end(replay)) == ("finished", 4, 4, 0, 0)
    assert not pause(replay.pk, who="ben")
    changes = Change.objects.order_by("pk").values_list("action", "who", "reason")
    assert list(changes) == [
        ("replay", "ana", "the mail server is back"),
        ("replay_pause", "ben", "look first"),
        ("replay_continue", "ben", ""),
    ]


def test_a_cancelled_replay_puts_back_what_has_not_begun_and_lets_end_what_runs() -> None:
    jobs = dead(6, error="ValueError: no mail")
    replay = ask(Scope(), rate=3, **WHO)
    running.step()
    runs = transitions.claim(jobs[0].pk, worker="w", lease_seconds=30, handler="shop.count")
    assert runs is not None
    assert cancel(replay.pk, who="ben") == 2
    assert cancel(replay.pk, who="ben") is None
    rows = Job.objects.exclude(pk=jobs[0].pk).values_list("state", "queue", "publish_at", "error")
    assert set(rows) == {("dead", "default", None, "ValueError: no mail")}
    assert Job.objects.get(pk=jobs[0].pk).state == JobState.RUNNING
    a_second_later()
    running.step()
    assert Job.objects.filter(state=JobState.DEAD).count() == 5
    Job.objects.filter(pk=jobs[0].pk).update(state=JobState.SUCCEEDED, finished_at=Now())
    running.step()
    assert figures(replay) == ("cancelled", 6, 1, 0, 0)
    assert (replay.released, replay.ended_by, replay.is_active) == (1, "ben", False)
    assert set(Change.objects.get(action="replay_cancel").jobs.values_list("job", flat=True)) == {
        job.pk for job in jobs[1:3]
    }  # fmt: skip


def test_a_cancelled_replay_of_missing_jobs_gives_up_those_that_it_has_made() -> None:
    make_delivery()
    replay = ask(Scope(handler="shop.count", is_missing=True), **WHO)
    running.step()
    assert cancel(replay.pk, who="ana") == 1
    assert list(Job.objects.values_list("state", "queue")) == [("skipped", "default")]


def test_a_replayed_job_that_is_run_again_by_hand_goes_back_to_its_own_queue() -> None:
    [job] = dead(1)
    ask(Scope(), **WHO)
    running.step()
    end_all(JobState.DEAD)
    assert transitions.run_again(Job.objects.all()) == 1
    assert Job.objects.get(pk=job.pk).queue == "default"


# --- Missing jobs -----------------------------------------------------------------------------------------------------


def test_deliveries_whose_handler_did_not_exist_are_run_through_it() -> None:
    lacking = [make_delivery() for _ in range(5)]
    has_one = make_job().delivery
    make_delivery(event="issues")
    make_delivery(body=None)
    replay = ask(Scope(handler="shop.count", is_missing=True), **WHO)
    assert (replay.total, replay.without_payload) == (5, 1)
    run_to_the_end(replay)
    assert figures(replay) == ("finished", 5, 5, 0, 0)
    assert set(Job.objects.values_list("delivery", flat=True)) == {has_one.pk, *(each.pk for each in lacking)}
    made = Job.objects.exclude(delivery=has_one).first()
    assert made is not None
    assert (made.queue, made.max_attempts, made.once_key) == ("default/replay", 3, None)


def test_the_conditions_of_the_handler_are_checked_on_the_stored_payload() -> None:
    main = [make_delivery(b'{"ref": "refs/heads/main"}') for _ in range(3)]
    form = make_delivery(
        b"payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    for body in (b'{"ref": "refs/heads/dev"}', b"{}", b"no json"):
        make_delivery(body)
    replay = ask(Scope(handler="shop.main", is_missing=True), **WHO)
    assert replay.total == 4
    run_to_the_end(replay)
    assert set(Job.objects.values_list("delivery", flat=True)) == {each.pk for each in (*main, form)}


def test_one_missing_job_is_made_for_an_event_that_several_hooks_sent_and_counted_once() -> None:
    guid = uuid.uuid4()
    first, _ = make_delivery(guid=guid, hook_id=1), make_delivery(guid=guid, hook_id=2)
    has_one = make_delivery(hook_id=1)
    make_job(delivery=has_one, handler="shop.once", once_key=f"github:{has_one.guid}:shop.once")
    make_delivery(guid=has_one.guid, hook_id=2)
    old = timezone.now() - timedelta(days=29)
    make_delivery(received_at=old)  # Its twin may have been pruned, with a job that has run.
    replay = ask(Scope(handler="shop.once", is_missing=True), **WHO)
    assert replay.total == 1
    assert figures(run_to_the_end(replay)) == ("finished", 1, 1, 0, 0)
    [made] = Job.objects.exclude(delivery=has_one)
    assert (made.delivery_id, made.once_key) == (first.pk, f"github:{guid}:shop.once")


def test_a_job_that_is_there_already_is_not_made_twice() -> None:
    delivery = make_delivery()
    wanted = missing.MissingJob(delivery_id=delivery.pk, subscription=COUNT, once_key=None)
    assert [owner for owner, _ in missing.make([wanted])] == [delivery.pk]
    assert missing.make([wanted]) == []
    assert Job.objects.count() == 1


def test_a_redelivery_makes_the_jobs_that_its_delivery_lacks_and_they_are_live() -> None:
    new = new_delivery(subscriptions=[COUNT])
    first = store(new)
    again = store(new_delivery(guid=new.guid, subscriptions=[COUNT, BILL, ONCE]))
    assert (again.is_duplicate, again.delivery_id, again.job_count) == (True, first.delivery_id, 3)
    assert {(job.handler, job.queue) for job in again.to_publish} == {("shop.bill", "io"), ("shop.once", "default")}
    assert set(Job.objects.values_list("handler", "state")) == {
        (name, "queued") for name in ("shop.count", "shop.bill", "shop.once")
    }
    assert Job.objects.filter(publish_at__lte=Now()).count() == 3
    once_more = store(new_delivery(guid=new.guid, subscriptions=[COUNT, BILL, ONCE]))
    assert (once_more.job_count, once_more.to_publish) == (3, ())


def test_a_redelivery_by_the_second_hook_makes_no_second_job_for_the_event() -> None:
    guid = uuid.uuid4()
    for hook_id in (1, 2):
        store(new_delivery(guid=guid, hook_id=hook_id, subscriptions=[ONCE]))
    again = store(new_delivery(guid=guid, hook_id=2, subscriptions=[ONCE, COUNT]))
    assert [job.handler for job in again.to_publish] == ["shop.count"]
    assert Job.objects.filter(handler="shop.once").count() == 1


def test_a_redelivery_with_nothing_missing_takes_no_more_statements_than_before() -> None:
    new = new_delivery(subscriptions=[COUNT])
    store(new)
    with CaptureQueriesContext(connection) as asked:
        store(new)
    assert not [
        query for query in asked.captured_queries if "INSERT INTO webhooks_job" in query["sql"].split("SELECT")[0]
    ]
    texts = [query["sql"] for query in asked.captured_queries]
    assert sum("webhooks_job" in text and text.startswith("SELECT") for text in texts) == 1


# --- Retention --------------------------------------------------------------------------------------------------------


def test_a_replay_that_ended_long_ago_is_pruned_and_so_are_its_items_with_their_jobs() -> None:
    dead(2)
    old, new = ask(Scope(), **WHO), ask(Scope(state="skipped"), **WHO)
    running.step()
    end_all(JobState.DEAD)
    running.step()
    for replay in (old, new):
        replay.refresh_from_db()
        assert replay.state == Replay.State.FINISHED
    long_ago = timezone.now() - timedelta(days=400)
    Replay.objects.filter(pk=old.pk).update(finished_at=long_ago)
    limits = retention.current_limits()
    assert limits is not None
    assert sum(batch.pruned.replays for batch in retention.prune(limits, is_dry_run=True)) == 1
    assert sum(batch.pruned.replays for batch in retention.prune(limits)) == 1
    assert list(Replay.objects.values_list("pk", flat=True)) == [new.pk]
    assert not ReplayItem.objects.exists()


def test_a_delivery_is_pruned_with_the_items_and_changes_that_name_its_jobs() -> None:
    dead(1)
    ask(Scope(), **WHO)
    running.step()
    end_all(JobState.DEAD)
    running.step()
    assert ReplayItem.objects.count() == 1
    long_ago = timezone.now() - timedelta(days=4000)
    Job.objects.update(finished_at=long_ago)
    Delivery.objects.update(received_at=long_ago)
    limits = retention.current_limits()
    assert limits is not None
    assert sum(batch.pruned.deliveries for batch in retention.prune(limits)) == 1
    assert not ReplayItem.objects.exists()
    assert not Payload.objects.exists()
