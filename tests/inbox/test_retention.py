"""Pruning: what goes and what stays, in batches, beside everything else, by the relay and by `manage.py prune`."""

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tests.publishing.test_relay import SUBSCRIPTION, new_job
from tests.support.brokers import repeated
from tests.support.inbox_rows import make_delivery, make_job, new_delivery, state_of
from tests.support.processes import manage, wait_until
from webhooks.inbox import retention, store, transitions
from webhooks.inbox.new_delivery import JobToPublish, NewDelivery, Stored
from webhooks.inbox.outcomes import Outcome
from webhooks.inbox.retention import Batch, Limits, Pruned, Schedule, current_limits, prune, prune_payloads
from webhooks.inbox.transitions import Ended
from webhooks.management.commands import prune as command
from webhooks.models import Attempt, Delivery, Job, Payload, Source
from webhooks.publishing.broker import Broker
from webhooks.publishing.relay import Relay
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.subscription import Backoff, Subscriptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

MINUTE = 1 / 1440
UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING)
ALL, NO_PAYLOAD, GONE = "all of it", "without its payload", "gone"


def ago(days: float) -> Any:
    return Now() - timedelta(days=days)


def delivery_of(days: float, *jobs: tuple[str, float], **columns: Any) -> Delivery:
    """A delivery received so long ago, with a job for each state and the days since it ended."""
    delivery = make_delivery(received_at=ago(days), **columns)
    for number, (state, ended) in enumerate(jobs):
        finished_at = None if state in UNFINISHED else ago(ended)
        job = make_job(state, delivery=delivery, handler=f"shop.{number}", finished_at=finished_at)
        if state not in UNFINISHED:
            Attempt.objects.create(job=job, number=1, worker="worker@node", pid=1)
    return delivery


def limits() -> Limits:
    found = current_limits()
    assert found is not None
    return found


def pruned(**options: Any) -> Pruned:
    return sum((batch.pruned for batch in prune(limits(), **options)), Pruned())


def what_is_left(delivery: Delivery) -> str:
    if not Delivery.objects.filter(pk=delivery.pk).exists():
        assert not Job.objects.filter(delivery_id=delivery.pk).exists()
        assert not Payload.objects.filter(pk=delivery.pk).exists()
        return GONE
    return ALL if Payload.objects.filter(pk=delivery.pk).exists() else NO_PAYLOAD


def repeat_of(delivery: Delivery, **values: Any) -> NewDelivery:
    return new_delivery(guid=delivery.guid, **{"subscriptions": [SUBSCRIPTION]} | values)


def only_on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")


class InThread:
    """Work on a connection of its own, beside the test; leaving the block waits for it and raises what it raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self.result: Any = None

    def _run(self) -> None:
        try:
            self.result = self._work()
        except Exception as error:
            self._error = error
        finally:
            connection.close()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def __enter__(self) -> "InThread":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.join(timeout=60)
        if self._error is not None:
            raise self._error


# --- What goes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("received", "jobs", "left"),
    [
        (14 - MINUTE, [], ALL),
        (14 + MINUTE, [], NO_PAYLOAD),
        (30 - MINUTE, [], NO_PAYLOAD),
        (30 + MINUTE, [], GONE),
        *((400, [(state, 0)], ALL) for state in UNFINISHED),
        *((14 - MINUTE, [(state, 14 - MINUTE)], ALL) for state in retention.DONE),
        *((14 + MINUTE, [(state, 14 + MINUTE)], NO_PAYLOAD) for state in retention.DONE),
        *((400, [(state, 14 - MINUTE)], ALL) for state in retention.DONE),
        *((400, [(state, 30 - MINUTE)], NO_PAYLOAD) for state in retention.DONE),
        *((400, [(state, 30 + MINUTE)], GONE) for state in retention.DONE),
        (400, [(JobState.DEAD, 90 - MINUTE)], ALL),
        (400, [(JobState.DEAD, 90 + MINUTE)], GONE),
        (400, [(JobState.SUCCEEDED, 399), (JobState.DEAD, 80)], ALL),
        (400, [(JobState.SUCCEEDED, 399), (JobState.QUEUED, 0)], ALL),
        (400, [(JobState.SUCCEEDED, 399), (JobState.SKIPPED, 20)], NO_PAYLOAD),
        (400, [(JobState.SUCCEEDED, 20), (JobState.DEAD, 399)], ALL),
        (400, [(JobState.SUCCEEDED, 399), (JobState.DEAD, 399)], GONE),
    ],
)
def test_what_is_left_by_age_and_states(received: float, jobs: list[tuple[str, float]], left: str) -> None:
    delivery = delivery_of(received, *jobs)
    pruned()
    assert what_is_left(delivery) == left


def test_the_settings_say_how_long(settings: Any) -> None:
    settings.HOOKLINE_KEEP_PAYLOADS_DAYS, settings.HOOKLINE_KEEP_DAYS, settings.HOOKLINE_KEEP_DEAD_DAYS = 2, 9, 11
    deliveries = [delivery_of(days, (state, days)) for days in (3, 10, 12) for state in retention.DONE[:1]]
    dead = [delivery_of(days, (JobState.DEAD, days)) for days in (10, 12)]
    pruned()
    assert [what_is_left(each) for each in (*deliveries, *dead)] == [NO_PAYLOAD, GONE, GONE, ALL, GONE]


def test_a_delivery_that_github_has_just_repeated_is_kept_to_recognise_the_next_repeat() -> None:
    quiet = delivery_of(400, repeats=1, last_repeat_at=ago(31))
    repeated = delivery_of(400, repeats=1, last_repeat_at=ago(7))
    pruned()
    assert (what_is_left(quiet), what_is_left(repeated)) == (GONE, NO_PAYLOAD)


def test_a_job_that_was_run_again_lives_from_then() -> None:
    delivery = delivery_of(400, (JobState.SUCCEEDED, 400))
    transitions.run_again(Job.objects.filter(delivery=delivery))
    pruned()
    assert what_is_left(delivery) == ALL


def test_it_says_what_it_removed() -> None:
    delivery_of(100, (JobState.SUCCEEDED, 100), (JobState.DEAD, 100))
    delivery_of(20, (JobState.SUCCEEDED, 20))
    delivery_of(1)
    assert pruned() == Pruned(deliveries=1, jobs=2, attempts=2, payloads=2)
    assert pruned() == Pruned()


# --- Batches ----------------------------------------------------------------------------------------------------------


def test_batches_are_bounded_and_committed_one_by_one() -> None:
    for _ in range(5):
        delivery_of(100, (JobState.SUCCEEDED, 100))
    left = []
    for batch in prune(limits(), batch=2):
        assert batch.pruned.deliveries <= 2
        assert not connection.in_atomic_block
        left.append(Delivery.objects.count())
    assert left == [3, 1, 0]


def test_a_batch_of_large_payloads_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_BYTES", 1000)
    for days in (100, 100, 100, 20, 20, 20):
        delivery_of(days, body=b"x" * 600)
    assert [batch.pruned.payloads for batch in prune(limits())] == [2, 1, 2, 1]


def test_what_is_kept_is_read_once_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [delivery_of(60, (JobState.DEAD, 60)) for _ in range(5)]
    seen: list[int] = []
    read = retention._deliveries

    def reading(after: int, limit: int) -> Any:
        found = read(after, limit)
        seen.extend(delivery.pk for delivery in found)
        return found

    monkeypatch.setattr(retention, "_deliveries", reading)
    assert pruned(batch=2) == Pruned()
    assert seen == [delivery.pk for delivery in kept]


def test_deliveries_whose_payload_is_gone_cost_the_next_pass_nothing() -> None:
    for _ in range(20):
        delivery_of(20)
    assert sum(batch.pruned.payloads for batch in prune_payloads(limits(), batch=2)) == 20
    found = limits()
    with CaptureQueriesContext(connection) as queries:
        assert list(prune_payloads(found, batch=2)) == []
    assert len(queries) == 1


# --- Beside others ----------------------------------------------------------------------------------------------------


def test_two_at_once_remove_everything_once() -> None:
    for _ in range(30):
        delivery_of(100, (JobState.SUCCEEDED, 100))
    young = delivery_of(1)
    with InThread(lambda: pruned(batch=3)) as one, InThread(lambda: pruned(batch=4)) as other:
        pass
    assert one.result + other.result == Pruned(deliveries=30, jobs=30, attempts=30, payloads=30)
    assert list(Delivery.objects.all()) == [young]


@pytest.mark.parametrize("days", [100, 20])
def test_a_job_run_again_after_it_was_looked_at_is_kept(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    delivery = delivery_of(days, (JobState.SUCCEEDED, days))
    look = retention._without_other_jobs

    def look_and_run_again(*arguments: Any) -> list[int]:
        going = look(*arguments)
        transitions.run_again(Job.objects.filter(delivery_id__in=going))
        return going

    monkeypatch.setattr(retention, "_without_other_jobs", look_and_run_again)
    assert pruned() == Pruned()
    assert what_is_left(delivery) == ALL


def test_a_delivery_repeated_after_it_was_looked_at_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = delivery_of(100)
    look = retention._without_other_jobs

    def look_and_repeat(*arguments: Any) -> list[int]:
        assert store.store(repeat_of(delivery, subscriptions=[])).is_duplicate
        return look(*arguments)

    monkeypatch.setattr(retention, "_without_other_jobs", look_and_repeat)
    pruned()
    assert what_is_left(delivery) == NO_PAYLOAD


@pytest.mark.parametrize("days", [100, 20])
def test_it_passes_over_what_somebody_else_has_locked(days: int) -> None:
    only_on_postgresql()
    delivery = delivery_of(days, (JobState.SUCCEEDED, days))
    locked, go = threading.Event(), threading.Event()

    def run_again() -> None:
        with transaction.atomic():
            transitions.run_again(Job.objects.filter(delivery=delivery))
            locked.set()
            go.wait(30)

    with InThread(run_again):
        locked.wait(30)
        assert pruned() == Pruned()
        go.set()
    assert what_is_left(delivery) == ALL
    assert state_of(Job.objects.get()) == JobState.QUEUED


def test_a_redelivery_that_meets_a_row_being_pruned_waits_for_the_batch_and_is_stored_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only_on_postgresql()
    delivery = delivery_of(100, (JobState.DEAD, 100))
    delete, locked, go = retention._delete, threading.Event(), threading.Event()

    def delete_slowly(rows: Any) -> int:
        locked.set()
        go.wait(30)
        return delete(rows)

    monkeypatch.setattr(retention, "_delete", delete_slowly)
    with InThread(pruned):
        locked.wait(30)
        with InThread(lambda: store.store(repeat_of(delivery))) as redelivery:
            wait_until(lambda: waits_for_locks() == 1, what="the redelivery to wait")
            go.set()
    assert (redelivery.result.is_duplicate, redelivery.result.job_count) == (False, 1)
    assert Delivery.objects.get().pk == redelivery.result.delivery_id != delivery.pk


def waits_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


def test_a_redelivery_whose_row_is_pruned_under_it_is_stored_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = delivery_of(100)
    count_repeat = store._count_repeat

    def prune_and_count(new: NewDelivery) -> Stored | None:
        Payload.objects.all().delete()
        Delivery.objects.all().delete()
        return count_repeat(new)

    monkeypatch.setattr(store, "_count_repeat", prune_and_count)
    stored = store.store(repeat_of(delivery))
    assert (stored.is_duplicate, stored.job_count) == (False, 1)
    assert bytes(Payload.objects.get().body) == b"{}"


def test_what_can_never_be_stored_is_an_error_and_not_taken_for_pruned() -> None:
    with pytest.raises(IntegrityError):
        store.store(repeat_of(Delivery(guid=uuid.uuid4()), subscriptions=[SUBSCRIPTION, SUBSCRIPTION]))
    assert not Delivery.objects.exists()


def test_those_who_store_claim_record_and_redeliver_beside_it_lose_nothing() -> None:
    old = [delivery_of(100, (JobState.DEAD, 100)) for _ in range(15)]
    waiting = [delivery_of(100, (JobState.QUEUED, 0)) for _ in range(15)]
    guids = [uuid.uuid4() for _ in range(15)]
    own = [replace(SUBSCRIPTION, name="shop.0")]
    slowest: list[float] = []

    def each(work: Callable[[Any], Any], items: list[Any]) -> Callable[[], list[Any]]:
        def run() -> list[Any]:
            results = []
            for item in items:
                began = time.monotonic()
                results.append(work(item))
                slowest.append(time.monotonic() - began)
            return results

        return run

    def run_job(delivery: Delivery) -> JobState | None:
        waiting = delivery.jobs.get()
        job = transitions.claim(waiting.pk, worker="worker@node", lease_seconds=60, handler=waiting.handler)
        assert job is not None
        done = Outcome(kind=AttemptOutcome.SUCCEEDED)
        return transitions.record(Ended(job=job, outcome=done, backoff=Backoff(), age_seconds=0, worker="worker@node"))

    with (
        InThread(each(run_job, waiting)) as worker,
        InThread(each(lambda guid: store.store(repeat_of(Delivery(guid=guid))), guids)) as receiver,
        InThread(each(lambda delivery: store.store(repeat_of(delivery, subscriptions=own)), old[::-1])) as github,
    ):
        while not (worker.is_over and receiver.is_over and github.is_over):
            pruned(batch=2)
    assert worker.result == [JobState.SUCCEEDED] * 15
    assert Delivery.objects.filter(guid__in=guids, jobs__state=JobState.QUEUED, payload__body=b"{}").count() == 15
    # Recognised and run again, or pruned and stored anew: never neither.
    again = Delivery.objects.filter(guid__in=[each.guid for each in old], jobs__state=JobState.QUEUED)
    assert again.count() == again.exclude(payload=None).count() == 15
    assert {what_is_left(each) for each in waiting} == {ALL}
    if connection.vendor == "postgresql":  # SQLite's writers do not queue: who waits is tried again at random.
        assert max(slowest) < 5


# --- The relay --------------------------------------------------------------------------------------------------------


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_WITHIN_SECONDS", 0)
    monkeypatch.setattr(retention, "STEP_SECONDS", 0)


def make_many_old(count: int) -> None:
    source, _ = Source.objects.get_or_create(name="github")
    Delivery.objects.bulk_create(
        Delivery(source=source, hook_id=1, guid=uuid.uuid4(), headers={}, body_bytes=2, received_at=ago(100))
        for _ in range(count)
    )


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == retention.__name__]


@pytest.mark.usefixtures("_at_once")
def test_each_step_is_one_batch_and_a_pass_ends_in_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    make_many_old(retention.BATCH + 30)
    schedule, left = Schedule(), []
    with caplog.at_level(logging.INFO):
        while not messages(caplog):
            schedule.step()
            left.append(Delivery.objects.count())
    assert left == [30, 0, 0]
    (record,) = caplog.records
    told: Any = record
    assert (record.getMessage(), told.deliveries, told.payloads) == ("pruned", retention.BATCH + 30, 0)


@pytest.mark.usefixtures("_at_once")
def test_after_a_pass_it_rests(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    schedule = Schedule()
    with caplog.at_level(logging.INFO):
        schedule.step()
    assert messages(caplog) == ["pruned"]
    delivery = delivery_of(100)
    for _ in range(5):
        schedule.step()
    assert what_is_left(delivery) == ALL
    an_hour_later = time.monotonic() + retention.PASS_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: an_hour_later)
    schedule.step()
    assert what_is_left(delivery) == GONE


def test_steps_within_a_second_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_WITHIN_SECONDS", 0)
    monkeypatch.setattr(retention, "STEP_SECONDS", 60)
    make_many_old(retention.BATCH + 30)
    schedule = Schedule()
    for _ in range(5):
        schedule.step()
    assert Delivery.objects.count() == 30


class Taker(Broker):
    """Takes one message, and then the relay is to stop."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._until = stop
        self.taken: list[int] = []

    def room(self, queue: str, **_options: Any) -> int:
        return 1

    def publish(self, jobs: Sequence[JobToPublish]) -> None:
        self.taken += [job.id for job in jobs]
        self._until.set()


def run_relay() -> list[int]:
    """Run a relay until it has published the one job there is, which is due some rounds later; return its id."""
    stop = threading.Event()
    broker = Taker(stop)
    Job.objects.filter(state=JobState.QUEUED).update(publish_at=Now() + timedelta(seconds=1))
    Relay(Subscriptions([SUBSCRIPTION]), stop=stop, broker=broker).run()
    return broker.taken


@pytest.mark.usefixtures("_at_once")
def test_the_relay_prunes_beside_its_work() -> None:
    delivery = delivery_of(100, (JobState.SUCCEEDED, 100))
    job = new_job()
    assert run_relay() == [job.pk]
    assert what_is_left(delivery) == GONE


@pytest.mark.usefixtures("_at_once")
def test_a_database_that_fails_the_pruning_does_not_stop_the_relay(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: Any, **_options: Any) -> Iterator[Batch]:
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(retention, "prune", fail)
    job = new_job()
    with caplog.at_level(logging.INFO):
        assert run_relay() == [job.pk]
    assert "pruning failed" in messages(caplog)
    assert "relay waits" not in [record.getMessage() for record in caplog.records]


@pytest.mark.usefixtures("_at_once")
def test_after_a_pass_that_the_database_ended_the_next_one_comes_in_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = delivery_of(100)
    schedule = Schedule()
    with monkeypatch.context() as broken:
        broken.setattr(retention, "prune", lambda _limits: (_ for _ in ()).throw(OperationalError()))
        schedule.step()
    schedule.step()
    assert what_is_left(delivery) == ALL
    a_minute_later = time.monotonic() + retention.AGAIN_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: a_minute_later)
    schedule.step()
    assert what_is_left(delivery) == GONE


# --- The command ------------------------------------------------------------------------------------------------------


def output(**options: Any) -> str:
    out = StringIO()
    call_command("prune", stdout=out, **options)
    return out.getvalue()


def test_a_dry_run_removes_nothing_and_counts_what_then_goes() -> None:
    delivery_of(100, (JobState.SUCCEEDED, 100), (JobState.DEAD, 100))
    delivery_of(100, (JobState.SUCCEEDED, 100))
    delivery_of(60, (JobState.DEAD, 60))
    delivery_of(20, (JobState.SKIPPED, 20))
    delivery_of(100, last_repeat_at=ago(1))
    delivery_of(1)
    told = output(dry_run=True)
    assert Delivery.objects.count() == Payload.objects.count() == 6
    assert told.splitlines()[0] == "A dry run: nothing is removed."
    counts = ["deliveries: 2", "their jobs: 3", "their attempts: 3", "rows of apps: 0", "payloads: 4"]
    assert [told.count(count) for count in counts] == [1] * 5
    removed = output()
    assert [removed.count(count) for count in counts] == [1] * 5
    assert (Delivery.objects.count(), Payload.objects.count()) == (4, 2)


def test_of_an_inbox_that_never_received_anything_it_says_so() -> None:
    assert output() == "Nothing was ever received.\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_batch(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    for _ in range(3):
        delivery_of(100)

    def interrupted(found: Limits, **options: Any) -> Iterator[Batch]:
        for batch in prune(found, batch=1, **options):
            os.kill(os.getpid(), number)
            yield batch

    monkeypatch.setattr(command, "prune", interrupted)
    before = signal.getsignal(number)
    told = output()
    assert Delivery.objects.count() == 2
    assert "deliveries: 1 " in told
    assert told.endswith("Stopped before the end; the next pass continues.\n")
    assert signal.getsignal(number) is before


def test_a_database_that_fails_is_one_sentence_after_what_was_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery_of(100)

    def failing(found: Limits, **options: Any) -> Iterator[Batch]:
        yield next(prune(found, **options))
        raise OperationalError

    monkeypatch.setattr(command, "prune", failing)
    out = StringIO()
    with pytest.raises(CommandError, match=r"^The database does not answer \(OperationalError\); the next pass"):
        call_command("prune", stdout=out)
    assert "deliveries: 1 " in out.getvalue()


def test_a_database_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    ended = manage("prune", HOOKLINE_DATA_DIR=tmp_path, DATABASE_URL="postgres://someone:hush@127.0.0.1:9/hookline")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert (
        ended.stderr.strip()
        == "CommandError: The database refuses the connection: nothing listens there; it is hookline at 127.0.0.1:9."
    )


# --- The settings -----------------------------------------------------------------------------------------------------

ORDER = (
    "HOOKLINE_KEEP_DAYS: must be HOOKLINE_KEEP_PAYLOADS_DAYS (14 unless set) or more, and "
    "HOOKLINE_KEEP_DEAD_DAYS (90 unless set) or fewer."
)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"HOOKLINE_KEEP_DAYS": 7}, "HOOKLINE_KEEP_DAYS: must be a whole number from 8 to 36500; "),
        repeated(
            {"HOOKLINE_KEEP_DEAD_DAYS": 10**9}, "HOOKLINE_KEEP_DEAD_DAYS: must be a whole number from 8 to 36500; "
        ),
        repeated(
            {"HOOKLINE_KEEP_PAYLOADS_DAYS": 0}, "HOOKLINE_KEEP_PAYLOADS_DAYS: must be a whole number from 1 to 36500; "
        ),
        ({"HOOKLINE_KEEP_PAYLOADS_DAYS": 31}, ORDER),
        repeated({"HOOKLINE_KEEP_DAYS": 91}, ORDER),
    ],
)
def test_days_that_make_no_sense_stop_the_start(tmp_path: Path, given: dict[str, int], told: str) -> None:
    ended = manage("check", HOOKLINE_DATA_DIR=tmp_path, **given)
    assert ended.returncode == 1
    assert ended.stderr.startswith("hookline: ")
    assert told in ended.stderr


def test_a_database_that_is_not_migrated_is_said_to_be(tmp_path: Path) -> None:
    ended = manage("prune", HOOKLINE_DATA_DIR=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.strip() == "CommandError: The database is not migrated; run manage.py migrate."
