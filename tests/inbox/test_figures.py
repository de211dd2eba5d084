"""The figures: right to the row whenever and however often they are made, by whichever relay."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Now
from django.utils import timezone

from tests.support import services
from tests.support.inbox_rows import make_delivery, make_job
from webhooks.inbox import releases
from webhooks.inbox.figures import making, reading
from webhooks.inbox.figures.counting import count_hour, count_minute
from webhooks.inbox.figures.histogram import ANSWERED, BUCKETS, RAN, WAITED, bucket_of, percentile
from webhooks.inbox.figures.making import HOUR, LATE, MINUTE, Making, hour_of, make, minute_of
from webhooks.inbox.retention import Pruned, current_limits, prune_figures
from webhooks.models import (
    AnswerMinute,
    Attempt,
    Delivery,
    FigureHour,
    FigureMark,
    FigureMinute,
    Job,
    QueueMinute,
    Release,
)
from webhooks.models.figures import Kind
from webhooks.states import AttemptOutcome, JobState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

AT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
"""The beginning of a minute."""


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one step catch up with everything."""
    monkeypatch.setattr(making, "STEP_SECONDS", 60.0)


def ran(
    at: datetime, *, seconds: float = 0.0, waited: float = 0.0, number: int = 1, job: Job | None = None, **columns: Any
) -> Attempt:
    """An attempt that ended then; without a job, the first of a new one that had waited so long."""
    outcome = columns.pop("outcome", AttemptOutcome.SUCCEEDED)
    started = at - timedelta(seconds=seconds)
    if job is None:
        delivery = make_delivery(event=columns.pop("event", "push"), received_at=started - timedelta(seconds=waited))
        job = make_job(delivery=delivery, created_at=started - timedelta(seconds=waited), **columns)
    return Attempt.objects.create(
        job=job, number=number, worker="w", pid=1, outcome=outcome, started_at=started, finished_at=at
    )


def counted(**columns: Any) -> list[Any]:
    return list(FigureMinute.objects.filter(**columns).order_by("at", "kind", "handler", "event", "outcome"))


def total(kind: Kind, model: Any = FigureMinute, **columns: Any) -> int:
    return model.objects.filter(kind=kind, **columns).aggregate(total=Sum("count"))["total"] or 0


def took(row: Any) -> list[int]:
    return [getattr(row, f"took_{place}") for place in range(BUCKETS)]


def waited(row: Any) -> list[int]:
    return [getattr(row, f"waited_{place}") for place in range(BUCKETS)]


def database_now() -> datetime:
    make_delivery()
    now: datetime = Delivery.objects.values_list(Now(), flat=True)[0]
    return now


def at_rest(until: datetime, *, written: datetime) -> FigureMark:
    """What a relay left that had made all figures until then, without a gap, and wrote last at that moment."""
    FigureMark.objects.all().delete()
    return FigureMark.objects.create(
        pk=1, minutes_until=until, hours_until=hour_of(until), written_at=written, resumed_at=until - HOUR
    )


# --- One minute -------------------------------------------------------------------------------------------------------


def test_a_minute_counts_what_was_received_by_event() -> None:
    for seconds, event in ((0.0, "push"), (59.999, "push"), (30.0, "issues"), (-0.001, "push"), (60.0, "push")):
        make_delivery(event=event, received_at=AT + timedelta(seconds=seconds))
    count_minute(AT)
    assert [(row.at, row.kind, row.event, row.count) for row in counted()] == [
        (AT, "received", "issues", 1),
        (AT, "received", "push", 2),
    ]


def test_a_minute_counts_attempts_by_what_they_were_and_in_buckets_of_their_durations() -> None:
    inside = AT + timedelta(seconds=30)
    ran(inside, seconds=0.05, waited=0.2)
    ran(inside, seconds=7, waited=90)
    ran(inside, seconds=4_000, waited=8_000)
    ran(inside, seconds=2, outcome=AttemptOutcome.FAILED)
    ran(inside, handler="shop.bill", queue="bulk", event="issues")
    ran(AT + MINUTE)
    count_minute(AT)
    rows = counted(kind=Kind.RAN)
    assert [(row.queue, row.handler, row.event, row.outcome, row.count) for row in rows] == [
        ("bulk", "shop.bill", "issues", "succeeded", 1),
        ("default", "shop.count", "push", "failed", 1),
        ("default", "shop.count", "push", "succeeded", 3),
    ]
    succeeded = rows[2]
    assert succeeded.seconds == pytest.approx(4_007.05, abs=0.01)
    assert took(succeeded) == [1, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert succeeded.waits == 3
    assert succeeded.wait_seconds == pytest.approx(8_090.2, abs=0.01)
    assert waited(succeeded) == [0, 1, 0, 0, 0, 0, 1, 0, 0, 1]


def test_only_a_jobs_first_run_says_how_long_it_had_waited() -> None:
    first = ran(AT, waited=3, outcome=AttemptOutcome.FAILED)
    ran(AT, number=2, job=first.job)
    count_minute(AT)
    assert {row.outcome: row.waits for row in counted(kind=Kind.RAN)} == {"failed": 1, "succeeded": 0}


def test_to_count_a_minute_again_changes_nothing_and_brings_in_what_came_late_or_moved() -> None:
    attempt = ran(AT)
    count_minute(AT)
    before = [(row.queue, row.count, took(row)) for row in counted(kind=Kind.RAN)]
    count_minute(AT)
    assert [(row.queue, row.count, took(row)) for row in counted(kind=Kind.RAN)] == before
    ran(AT + timedelta(seconds=59))
    Job.objects.filter(pk=attempt.job_id).update(queue="moved")
    count_minute(AT)
    assert {row.queue: row.count for row in counted(kind=Kind.RAN)} == {"default": 1, "moved": 1}


def test_an_hour_is_the_sum_of_its_minutes_and_of_what_all_receivers_answered() -> None:
    hour = hour_of(AT)
    for minute in (0, 30, 59, 60):
        ran(hour + minute * MINUTE, seconds=2, waited=2)
        count_minute(hour + minute * MINUTE)
        AnswerMinute.objects.create(
            at=hour + minute * MINUTE, receiver=f"r{minute}", result="stored", count=2, seconds=0.5, took_3=2
        )
    count_hour(hour)
    count_hour(hour)
    found = {row.kind: row for row in FigureHour.objects.exclude(kind=Kind.RECEIVED)}
    row = found["ran"]
    assert (row.at, row.count, row.waits) == (hour, 3, 3)
    assert [row.seconds, row.wait_seconds] == pytest.approx([6, 6], abs=0.01)
    assert (took(row)[3], waited(row)[3]) == (3, 3)
    row = found["answered"]
    assert (row.outcome, row.count, row.seconds, took(row)[3]) == ("stored", 6, 1.5, 6)


# --- A relay makes them -----------------------------------------------------------------------------------------------


def test_there_is_nothing_to_make_before_anything_was_received() -> None:
    assert make() is False
    assert not FigureMark.objects.exists()


def test_the_first_relay_counts_what_is_there_two_days_back_at_most() -> None:
    now = database_now()
    for hours in (1, 5, 47, 50):
        ran(now - timedelta(hours=hours))
    make()
    FigureMark.objects.update(
        written_at=now - timedelta(seconds=11), resumed_at=now - HOUR
    )  # As more than a minute later.
    assert make() is False
    mark = FigureMark.objects.get()
    assert minute_of(now) - LATE <= mark.minutes_until <= minute_of(timezone.now()) - LATE
    assert total(Kind.RAN) == total(Kind.RAN, FigureHour) == 3


def test_a_minute_that_is_still_open_is_counted_again_and_one_that_is_final_is_not() -> None:
    now = database_now()
    at_rest(minute_of(now) - LATE, written=now - timedelta(seconds=11))
    ran(now - timedelta(seconds=1))
    ran(minute_of(now) - LATE - timedelta(seconds=1))
    make()
    assert total(Kind.RAN) == 1
    ran(now - timedelta(seconds=1))
    FigureMark.objects.update(written_at=now - timedelta(seconds=11))
    make()
    assert total(Kind.RAN) == 2


def test_a_row_that_comes_late_is_counted_before_its_minute_is_final() -> None:
    now = database_now()
    until = minute_of(now) - LATE - 2 * MINUTE
    at_rest(until, written=now - timedelta(seconds=11))
    ran(until + timedelta(seconds=30))
    make()
    assert FigureMark.objects.get().minutes_until >= until + 2 * MINUTE
    assert total(Kind.RAN, at=until) == 1
    assert total(Kind.RAN, FigureHour, at=hour_of(until)) == 1


def test_after_a_gap_late_rows_are_waited_for_and_the_newest_minutes_are_there_at_once() -> None:
    now = database_now()
    until = minute_of(now) - 3 * HOUR
    at_rest(until, written=until)
    ran(until + timedelta(seconds=30))
    ran(now - 3 * MINUTE)
    make()
    mark = FigureMark.objects.get()
    assert (mark.minutes_until, total(Kind.RAN)) == (until, 1)
    assert mark.resumed_at == mark.written_at
    ran(until + timedelta(seconds=40))  # As a worker records it that could not reach the database either.
    FigureMark.objects.update(resumed_at=now - 2 * MINUTE, written_at=now - timedelta(seconds=11))
    make()
    assert total(Kind.RAN) == total(Kind.RAN, FigureHour) == 3


def test_a_relay_that_is_behind_catches_up_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "STEP_SECONDS", 0.0)
    now = database_now()
    until = minute_of(now) - 2 * HOUR
    at_rest(until, written=now - timedelta(seconds=2))
    ran(until)
    assert make() is True
    assert FigureMark.objects.get().minutes_until == until
    monkeypatch.setattr(making, "STEP_SECONDS", 60.0)
    assert make() is False, "A second has not passed."
    FigureMark.objects.update(written_at=now - timedelta(seconds=2))
    assert make() is False
    assert FigureMark.objects.get().minutes_until >= minute_of(now) - LATE
    assert total(Kind.RAN, FigureHour) == 1


def test_of_several_relays_one_makes_them_every_ten_seconds() -> None:
    now = database_now()
    at_rest(minute_of(now) - LATE, written=now)
    ran(now)
    make()
    assert counted() == []
    FigureMark.objects.update(written_at=now - timedelta(seconds=11))
    make()
    assert total(Kind.RAN) == 1


def test_a_relay_does_not_wait_for_another_that_is_counting() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    now = database_now()
    at_rest(minute_of(now) - LATE, written=now - HOUR)
    ran(now)
    with psycopg.connect(services.POSTGRES_URL, dbname=connection.settings_dict["NAME"]) as other:
        other.execute("SELECT 1 FROM webhooks_figuremark FOR UPDATE")
        assert make() is False
        assert counted() == []


def test_relays_that_begin_together_count_nothing_twice() -> None:
    now = database_now()
    for _ in range(5):
        ran(now - MINUTE)
    failures: list[BaseException] = []

    def relay() -> None:
        try:
            make()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=relay) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert total(Kind.RAN) == 5


def test_a_relay_looks_every_ten_seconds_and_every_second_while_it_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, left = iter([100.0, 100.0, 101.0, 101.0, 110.0, 112.0]), iter([True, False])
    monkeypatch.setattr("webhooks.inbox.figures.making.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(making, "make", lambda: next(left))
    figures = Making()
    figures.step()
    figures.step()
    figures.step()
    assert next(left, "both") == "both"
    assert figures._next_at == 111.0


def test_a_queues_depth_is_the_most_that_was_seen_in_the_minute() -> None:
    now = database_now()
    for _ in range(3):
        make_job(JobState.QUEUED, due_at=Now() - timedelta(seconds=30))
    making._sample_queues(minute_of(now))
    Job.objects.filter(pk__in=Job.objects.values("pk")[:2]).update(state=JobState.SUCCEEDED, publish_at=None)
    making._sample_queues(minute_of(now))
    row = QueueMinute.objects.get()
    assert (row.queue, row.jobs) == ("default", 3)
    assert row.oldest_seconds >= 30


# --- Pruning ----------------------------------------------------------------------------------------------------------


def figures_of(at: datetime) -> None:
    for model in (FigureMinute, FigureHour):
        model.objects.create(at=at, kind=Kind.RECEIVED, event="push", count=1)
    AnswerMinute.objects.create(at=at, receiver="r", result="stored")
    QueueMinute.objects.create(at=at, queue="q", jobs=1, oldest_seconds=1)


def test_minutes_are_kept_two_days_and_hours_as_long_as_dead_jobs() -> None:
    now = database_now()
    at_rest(minute_of(now), written=now)
    for hours in (1, 47, 49, 24 * 89, 24 * 91):
        figures_of(now - timedelta(hours=hours))
    limits = current_limits()
    assert limits is not None
    dry = sum((batch.pruned for batch in prune_figures(limits, is_dry_run=True)), Pruned())
    assert dry == sum((batch.pruned for batch in prune_figures(limits)), Pruned()) == Pruned(figures=10)
    assert [model.objects.count() for model in (FigureMinute, AnswerMinute, QueueMinute, FigureHour)] == [2, 2, 2, 4]
    assert list(prune_figures(limits)) == []


def test_minutes_stay_until_their_hour_is_made() -> None:
    now = database_now()
    at_rest(minute_of(now) - timedelta(days=3), written=now - timedelta(days=3))
    for days in (2.5, 3.5):
        figures_of(now - timedelta(days=days))
    limits = current_limits()
    assert limits is not None
    list(prune_figures(limits))
    assert [row.at for row in counted()] == [now - timedelta(days=2.5)]


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_hours_and_minutes_answer_the_same() -> None:
    now = AT
    ran(now, seconds=2, outcome=AttemptOutcome.FAILED)
    ran(now, seconds=4)
    ran(now, outcome=AttemptOutcome.RETRY_LATER)
    AnswerMinute.objects.create(at=now, receiver="a", result="stored", count=99, took_1=99)
    AnswerMinute.objects.create(at=now, receiver="b", result="stored", count=1, took_8=1)
    AnswerMinute.objects.create(at=now, receiver="b", result="refused", count=7, took_9=7)
    count_minute(now)
    count_hour(hour_of(now))
    for is_hourly in (False, True):
        span = reading.span_of(now + MINUTE, hours=24 if is_hourly else 1, is_hourly=is_hourly)
        assert span.moments[-1] == span.last
        assert len(span.moments) == (24 if is_hourly else 60)
        runs = reading.runs_by_handler(span)["shop.count"][span.last]
        assert (runs.count, runs.failed) == (3, 1)
        assert runs.mean_seconds == pytest.approx(2, abs=0.01)
        assert runs.failure_share == pytest.approx(1 / 3)
        assert reading.succeeded(span) == 1
        assert reading.durations_by_handler(span)["shop.count"][1] > 1
        answers = reading.answers(span, acknowledged=["stored"])
        assert {result: dict(found) for result, found in answers.counts.items()} == {
            "stored": {span.last: 100},
            "refused": {span.last: 7},
        }
        assert answers.whole_median is not None
        assert 0.005 < answers.whole_median < 0.01
        assert answers.whole_p99 == answers.p99[span.last] == pytest.approx(0.01)


def test_a_percentile_is_read_from_the_bucket_that_holds_it() -> None:
    assert percentile([0] * BUCKETS, RAN, 0.5) is None
    assert percentile([10] + [0] * 9, (1.0,) * 9, 0.5) == 0.5
    assert percentile([0] * 9 + [3], WAITED, 0.99) == WAITED[-1]
    assert percentile([50, 50] + [0] * 8, ANSWERED, 0.75) == pytest.approx(0.0075)
    for bounds in (RAN, WAITED, ANSWERED):
        assert len(bounds) == BUCKETS - 1
        assert [bucket_of(seconds, bounds) for seconds in (0.0, *bounds)] == list(range(BUCKETS))


@pytest.fixture
def nothing_noted() -> Iterator[None]:
    releases._noted.clear()
    yield
    releases._noted.clear()


@pytest.mark.usefixtures("nothing_noted")
def test_a_release_is_marked_when_it_is_first_seen() -> None:
    releases.seen("1.0")
    first = Release.objects.get()
    releases._noted.clear()  # As another process has it.
    releases.seen("1.0")
    releases.seen("")
    assert list(Release.objects.all()) == [first]
    now = database_now()
    assert reading.releases(reading.span_of(now, hours=1, is_hourly=False)) == [("1.0", first.first_seen_at)]
