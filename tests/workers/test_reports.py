"""What a dispatcher's metrics and log say of the inbox's answers."""

import logging
import time
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.claimed_jobs import AT, claimed_job, ended_run
from webhooks.inbox.claimed_job import Wanted
from webhooks.inbox.outcomes import Outcome
from webhooks.states import AttemptOutcome, JobState
from workers.dispatcher.desk import EndedRun
from workers.dispatcher.ended_children import CutOff
from workers.dispatcher.events import JobEvents
from workers.dispatcher.exchange import Answer, Request
from workers.dispatcher.reports import Reports

HANDLER = "shop.count"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def reports(registry: CollectorRegistry) -> Reports:
    return Reports(registry, None)


def ended(kind: AttemptOutcome) -> EndedRun:
    return ended_run(claimed_job(), Outcome(kind=kind), began_at=10.0, ended_at=12.5)


def cut_off(kind: AttemptOutcome) -> CutOff:
    return CutOff(7, 2, 11, 10.0, 12.0, kind, "It ended.")


def runs(registry: CollectorRegistry, outcome: AttemptOutcome) -> float | None:
    return registry.get_sample_value("hookline_worker_runs_total", {"handler": HANDLER, "outcome": outcome.value})


def fields(record: logging.LogRecord, *names: str) -> list[Any]:
    return [vars(record)[name] for name in names]


def test_each_run_is_counted_by_how_it_ended(reports: Reports, registry: CollectorRegistry) -> None:
    asked = Request(
        ended=[ended(AttemptOutcome.SUCCEEDED), ended(AttemptOutcome.SUCCEEDED), ended(AttemptOutcome.FAILED)]
    )
    reports.answered(Answer(asked, [JobState.SUCCEEDED, None, JobState.RETRYING]))
    assert runs(registry, AttemptOutcome.SUCCEEDED) == 2
    assert runs(registry, AttemptOutcome.FAILED) == 1


@pytest.mark.parametrize("has_failed", [False, True])
@pytest.mark.parametrize("kind", [AttemptOutcome.CRASHED, AttemptOutcome.HARD_LIMIT, AttemptOutcome.LOST])
def test_a_run_cut_off_with_its_process_is_counted_too_whatever_becomes_of_what_was_asked_with_it(
    reports: Reports,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
    kind: AttemptOutcome,
    has_failed: bool,
) -> None:
    recorded = [(cut_off(kind), claimed_job(pk=7, handler=HANDLER, attempt=2), JobState.RETRYING)]
    reports.answered(Answer(Request(ended=[ended(AttemptOutcome.FAILED)]), [None], (), (), recorded, has_failed))
    assert runs(registry, kind) == 1
    assert runs(registry, AttemptOutcome.FAILED) == (None if has_failed else 1)
    (record,) = [record for record in caplog.records if record.message == "attempt ended with its process"]
    names = ("delivery", "job", "handler", "attempt", "outcome", "state", "reason", "trace_id")
    assert fields(record, *names) == [1, 7, HANDLER, 2, kind.value, "retrying", "It ended.", f"{1:032x}"]


def test_jobs_that_are_final_are_counted_and_each_run_is_timed(reports: Reports, registry: CollectorRegistry) -> None:
    outcomes = [AttemptOutcome.SUCCEEDED, AttemptOutcome.FAILED, AttemptOutcome.FAILED, AttemptOutcome.FAILED]
    states = [JobState.SUCCEEDED, JobState.DEAD, JobState.RETRYING, None]
    recorded = [(cut_off(AttemptOutcome.CRASHED), claimed_job(handler=HANDLER), JobState.DEAD)]
    reports.answered(Answer(Request(ended=[ended(one) for one in outcomes]), states, cut_off=recorded))
    value = registry.get_sample_value
    jobs = {
        state: value("hookline_worker_jobs_ended_total", {"handler": HANDLER, "state": state}) for state in JobState
    }
    assert jobs == {**dict.fromkeys(JobState), JobState.SUCCEEDED: 1, JobState.DEAD: 2}
    assert value("hookline_worker_run_seconds_count", {"handler": HANDLER}) == 5
    assert value("hookline_worker_run_seconds_sum", {"handler": HANDLER}) == 4 * 2.5 + 2


def test_a_wait_is_timed_from_when_the_job_was_due_by_the_databases_clock(
    reports: Reports, registry: CollectorRegistry
) -> None:
    # A database whose clock is years behind this machine's: only differences on one clock count.
    job = claimed_job(queue="io", due_at=AT, claimed_at=AT + timedelta(seconds=30))
    before = time.monotonic()
    reports.answered(Answer(Request(), claimed=[job], seconds=1.0))
    after = time.monotonic()
    began_at = after + 4
    run = ended_run(job, Outcome(kind=AttemptOutcome.SUCCEEDED), began_at=began_at, ended_at=began_at + 1)
    reports.answered(Answer(Request(ended=[run]), [JobState.SUCCEEDED]))
    waited = registry.get_sample_value("hookline_worker_wait_seconds_sum", {"queue": "io"})
    assert waited is not None
    assert 35 <= waited + 0.001 < 35.002 + after - before


def test_no_wait_is_timed_before_the_clocks_were_compared(reports: Reports, registry: CollectorRegistry) -> None:
    # The jobs of the dispatcher before this one end here.
    reports.answered(Answer(Request(ended=[ended(AttemptOutcome.SUCCEEDED)]), [JobState.SUCCEEDED]))
    assert registry.get_sample_value("hookline_worker_wait_seconds_count", {"queue": "default"}) is None


def test_exchanges_claims_and_outages_are_counted(reports: Reports, registry: CollectorRegistry) -> None:
    asked = Request(wanted=Wanted(worker="worker-1@host", leases={}, queue="io"))
    reports.answered(Answer(asked, claimed=[claimed_job(queue="io"), claimed_job(queue="io")], seconds=0.5))
    reports.answered(Answer(asked, has_failed=True, seconds=2.0))
    value = registry.get_sample_value
    assert value("hookline_worker_jobs_claimed_total", {"queue": "io"}) == 2
    assert value("hookline_worker_exchange_seconds_count") == 2
    assert value("hookline_worker_exchange_seconds_sum") == 2.5
    assert value("hookline_worker_exchanges_failed_total") == 1


def test_a_run_that_did_not_succeed_is_logged(reports: Reports, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="workers.dispatcher.reports")
    asked = Request(ended=[ended(AttemptOutcome.SUCCEEDED), ended(AttemptOutcome.FAILED)])
    reports.answered(Answer(asked, [JobState.SUCCEEDED, None]))
    (record,) = caplog.records
    assert fields(record, "outcome", "state", "seconds") == ["failed", "not recorded", 2.5]


def test_an_answer_is_told_to_flower_with_what_was_given_back_and_what_may_not_begin() -> None:
    told: list[dict[str, Any]] = []
    reports = Reports(CollectorRegistry(), JobEvents("worker-1@host", told.append))
    jobs = [claimed_job(pk=pk) for pk in range(1, 5)]
    reports.answered(Answer(Request(), claimed=jobs))
    asked = Request(given_back=jobs[3:], begins=jobs[1:3], ended=[ended(AttemptOutcome.SUCCEEDED)])
    reports.answered(Answer(asked, [JobState.SUCCEEDED], begun=jobs[1:2]))
    cut_off_job = claimed_job(pk=7, handler=HANDLER, attempt=2)
    reports.answered(Answer(Request(), cut_off=[(cut_off(AttemptOutcome.CRASHED), cut_off_job, JobState.RETRYING)]))
    assert [(event["type"].removeprefix("task-"), event["uuid"]) for event in told] == [
        *[("received", f"{pk}-1") for pk in range(1, 5)],
        ("started", "1-1"),
        ("succeeded", "1-1"),
        ("revoked", "4-1"),
        ("revoked", "3-1"),
        ("retried", "7-2"),
    ]
