"""What the inbox has measured for a plan of capacity: run times, the busiest window, and the jobs of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.support.inbox_rows import make_delivery, make_job
from webhooks.inbox import measured
from webhooks.models import Attempt, FigureHour, FigureMinute, Job
from webhooks.models.figures import Kind
from webhooks.states import AttemptOutcome

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
NOW = datetime(2026, 5, 4, 12, 0, 30, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def ran(job: Job, seconds: float, *, number: int = 1, outcome: str = AttemptOutcome.SUCCEEDED) -> None:
    Attempt.objects.create(
        job=job, number=number, worker="w", pid=7, started_at=NOW, outcome=outcome,
        finished_at=NOW + timedelta(seconds=seconds),
    )  # fmt: skip


def came(at: datetime, **columns: Any) -> None:
    Job.objects.filter(pk=make_job(**columns).pk).update(created_at=at)


def test_run_times_are_those_of_each_handlers_newest_runs_that_ended_by_themselves() -> None:
    count, bill = make_job(), make_job(handler="shop.bill", queue="io")
    ran(count, 0.5)
    ran(count, 1.5, number=2, outcome=AttemptOutcome.FAILED)
    ran(bill, 2.0)
    for number, outcome in enumerate((AttemptOutcome.HANDED_BACK, AttemptOutcome.LOST, AttemptOutcome.CRASHED), 2):
        ran(bill, 60.0, number=number, outcome=outcome)
    Attempt.objects.create(job=bill, number=9, worker="w", pid=7)
    assert measured.run_seconds(None) == {"shop.count": [1.5, 0.5], "shop.bill": [2.0]}
    assert measured.run_seconds(frozenset({"io"})) == {"shop.bill": [2.0]}


def test_a_replayed_job_counts_for_its_queue() -> None:
    ran(make_job(queue="io/replay"), 2.0)
    assert measured.run_seconds(frozenset({"io"})) == {"shop.count": [2.0]}


def test_no_more_than_so_many_runs_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "MOST_RUNS", 3)
    job = make_job()
    for number in range(1, 6):
        ran(job, float(number), number=number)
    assert measured.run_seconds(None) == {"shop.count": [5.0, 4.0, 3.0]}


def counted(at: datetime, count: int) -> None:
    FigureMinute.objects.create(at=at, kind=Kind.RECEIVED, event="push", count=count)


def test_the_busiest_window_is_found_by_the_minutes_figures() -> None:
    noon = NOW.replace(second=0)
    for minutes_ago, count in ((600, 50), (599, 60), (598, 10), (300, 100), (20, 90), (100, 5)):
        counted(noon - minutes_ago * MINUTE, count)
    two, one = 2 * MINUTE, MINUTE
    assert measured.busiest_window(NOW - 24 * HOUR, now=NOW, length=two) == noon - 600 * MINUTE
    assert measured.busiest_window(NOW - 24 * HOUR, now=NOW, length=one) == noon - 300 * MINUTE
    assert measured.busiest_window(NOW - HOUR, now=NOW, length=one) == noon - 20 * MINUTE


def test_a_longer_time_is_searched_by_its_hours() -> None:
    noon = NOW.replace(second=0)
    for hours_ago, count in ((100, 50), (30, 40)):
        FigureHour.objects.create(at=noon - hours_ago * HOUR, kind=Kind.RECEIVED, event="push", count=count)
    assert measured.busiest_window(NOW - 168 * HOUR, now=NOW, length=HOUR) == noon - 100 * HOUR


def test_without_figures_the_last_window_is_taken() -> None:
    assert measured.busiest_window(NOW - 24 * HOUR, now=NOW, length=HOUR) == NOW - HOUR


def test_a_trace_has_the_jobs_of_its_time_and_queues_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    came(NOW + 2 * MINUTE, handler="shop.bill")
    came(NOW + MINUTE)
    came(NOW + MINUTE, queue="io")
    came(NOW - MINUTE)
    came(NOW + HOUR)
    found = measured.trace(NOW, NOW + HOUR, queues=frozenset({"default"}))
    assert [(job.at - NOW, job.handler) for job in found.jobs] == [(MINUTE, "shop.count"), (2 * MINUTE, "shop.bill")]
    assert not found.is_cut_off
    assert len(measured.trace(NOW, NOW + HOUR, queues=None).jobs) == 3
    monkeypatch.setattr(measured, "MOST_JOBS", 2)
    found = measured.trace(NOW, NOW + HOUR, queues=None)
    assert (len(found.jobs), found.is_cut_off) == (2, True)


ROWS = 5_000
MANY = """
INSERT INTO webhooks_job (delivery_id, handler, queue, state, created_at, due_at, finished_at, attempt, max_attempts,
                          forgiven, lost, budget_from_attempt, budget_from_at, worker, result, error, fingerprint)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
SELECT %s, 'shop.h' || i, 'default', 'succeeded', %s, %s, %s, 1, 3, 0, 0, 0, %s, '', '', '', '' FROM n
"""
THEIR_RUNS = """
INSERT INTO webhooks_attempt (job_id, number, worker, pid, started_at, finished_at, outcome, message, traceback)
SELECT id, 1, 'w', 7, created_at, created_at, 'succeeded', '', '' FROM webhooks_job
"""


def plan_of(statement: str) -> str:
    prefix = "EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
    with connection.cursor() as cursor:
        cursor.execute(prefix + statement)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def test_every_question_finds_its_rows_by_an_index_and_reads_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the tables are small next to what is read, so that a walk over all of them looks cheap."""
    monkeypatch.setattr(measured, "MOST_RUNS", 100)
    monkeypatch.setattr(measured, "MOST_JOBS", 100)
    monkeypatch.setattr(measured, "CHUNK", 50)
    delivery, long_ago = make_delivery(), NOW - 300 * HOUR
    with connection.cursor() as cursor:
        cursor.execute(MANY.format(rows=ROWS), [delivery.pk, *[long_ago] * 4])
        cursor.execute(THEIR_RUNS)
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as asked:
        measured.run_seconds(None)
        measured.trace(NOW, NOW + HOUR, queues=None)
    plans = [plan_of(each["sql"]) for each in asked if each["sql"].startswith("SELECT")]
    assert len(plans) == 4  # The runs, their jobs in two chunks, and the trace.
    for plan in plans:
        assert "Seq Scan" not in plan, plan
        assert "SCAN webhooks_job" not in plan.replace("SCAN webhooks_job USING", ""), plan
    assert "job_created" in plans[-1]
