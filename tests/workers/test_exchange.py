"""The dispatcher's exchanges with the inbox: what is refused of one run costs no other, and is not tried for ever."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections

from tests.support.claimed_jobs import ended_run
from tests.support.inbox_rows import make_job
from tests.support.process_ends import ProcessEnd
from webhooks.inbox import transitions
from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.outcomes import Outcome
from webhooks.models import Attempt, Job
from webhooks.states import AttemptOutcome, JobState
from workers.dispatcher.desk import EndedRun
from workers.dispatcher.ended_children import CutOff
from workers.dispatcher.exchange import Answer, Exchange, Request

WORKER = "worker-1@host"
LEASES = {"shop.count": 60.0}
ODD = "odd"
EVERYTHING = ""

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def ask() -> Iterator[Callable[..., Answer]]:
    exchange = Exchange(worker=WORKER, answered=lambda: None)

    def answer(**asked: Any) -> Answer:
        exchange.ask(Request(**asked))
        return exchange.answers.get(timeout=60)

    yield answer
    exchange._committer._pool.submit(connections.close_all).result()


@contextmanager
def refusing(text: str) -> Iterator[None]:
    """Have a trigger refuse each attempt whose message contains the text."""
    condition = f"WHEN (NEW.message LIKE '%{text}%')"
    if connection.vendor == "postgresql":
        made = [
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not here'; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON webhooks_attempt"
            f" FOR EACH ROW {condition} EXECUTE FUNCTION refuse()",
        ]
        undone = ["DROP TRIGGER refuse ON webhooks_attempt", "DROP FUNCTION refuse()"]
    else:
        made = [
            f"CREATE TRIGGER refuse BEFORE INSERT ON webhooks_attempt {condition}"
            " BEGIN SELECT RAISE(ABORT, 'not here'); END"
        ]
        undone = ["DROP TRIGGER refuse"]
    execute(made)
    try:
        yield
    finally:
        execute(undone)


def execute(statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def claimed() -> ClaimedJob:
    job = transitions.claim(make_job(JobState.QUEUED).pk, worker=WORKER, handler="shop.count", lease_seconds=60)
    assert job is not None
    return job


def cut_off(job: ClaimedJob, reason: str = "It ended.") -> CutOff:
    now = time.monotonic()
    return CutOff(job.pk, job.attempt, 11, now - 3, now - 2, AttemptOutcome.CRASHED, reason)


def ended(job: ClaimedJob, message: str = "") -> EndedRun:
    now = time.monotonic()
    outcome = Outcome(kind=AttemptOutcome.SUCCEEDED, message=message)
    return ended_run(job, outcome, began_at=now - 1, ended_at=now)


def states(*jobs: ClaimedJob) -> list[str]:
    return [Job.objects.values_list("state", flat=True).get(pk=job.pk) for job in jobs]


def test_a_run_cut_off_with_its_process_is_recorded_with_when_that_ended(ask: Callable[..., Answer]) -> None:
    job = claimed()
    run = cut_off(job)
    assert [(one, job.handler, state) for one, job, state in ask(cut_off=[run]).cut_off] == [
        (run, "shop.count", JobState.RETRYING)
    ]
    attempt = Attempt.objects.get()
    assert attempt.outcome == AttemptOutcome.CRASHED
    assert attempt.finished_at is not None
    assert 0.9 < (attempt.finished_at - attempt.started_at).total_seconds() < 1.1


def test_a_cut_off_run_that_has_recorded_is_not_reported_again(ask: Callable[..., Answer]) -> None:
    run = cut_off(claimed())
    ask(cut_off=[run])
    assert ask(cut_off=[run]).cut_off == []


def test_one_refused_outcome_costs_no_other_run_its_own(ask: Callable[..., Answer]) -> None:
    odd, other, third = claimed(), claimed(), claimed()
    with refusing(ODD):
        answer = ask(ended=[ended(odd, ODD), ended(other)], cut_off=[cut_off(third, ODD)])
    assert not answer.has_failed
    assert answer.states == [JobState.RETRYING, JobState.SUCCEEDED]
    assert [state for _, _, state in answer.cut_off] == [JobState.RETRYING]
    assert states(odd, other, third) == ["retrying", "succeeded", "retrying"]
    assert set(Attempt.objects.values_list("job", "message")) == {
        (odd.pk, "The database refuses to store the outcome."),
        (other.pk, ""),
        (third.pk, "The database refuses to store the outcome."),
    }


def test_a_run_of_which_nothing_can_be_stored_is_left_to_its_lease(
    ask: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = claimed(), claimed()
    with refusing(EVERYTHING):
        answer = ask(ended=[ended(first)], cut_off=[cut_off(second)])
    assert not answer.has_failed
    assert answer.states == [None]
    assert [state for _, _, state in answer.cut_off] == [None]
    assert states(first, second) == ["running", "running"]
    left = [vars(record)["job"] for record in caplog.records if record.message == "run left to its lease"]
    assert sorted(left) == [first.pk, second.pk]


def test_a_claim_that_is_refused_has_failed_so_that_there_is_a_pause_before_the_next(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: Any) -> None:
        raise ValueError("a value that nobody can read")

    monkeypatch.setattr(transitions, "exchange", refuse)
    assert ask(wanted=Wanted(worker=WORKER, leases=LEASES, queue="default")).has_failed


def test_claims_that_cannot_be_given_back_keep_nothing_else_from_the_inbox(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: Any) -> None:
        raise ValueError("a value that nobody can write")

    monkeypatch.setattr(transitions, "release", refuse)
    job, other = claimed(), claimed()
    answer = ask(given_back=[other], ended=[ended(job)])
    assert not answer.has_failed
    assert states(job) == ["succeeded"]


def test_an_error_that_nobody_foresaw_ends_the_process_and_is_logged_with_where_it_was(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_given: Any) -> None:
        raise ZeroDivisionError("a secret")

    end = ProcessEnd(monkeypatch)
    exchange = Exchange(worker=WORKER, answered=lambda: None)
    monkeypatch.setattr(exchange, "_answer", fail)
    exchange.ask(Request(given_back=[claimed()]))
    assert end.has_come.wait(60)
    assert end.statuses == [1]
    (record,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert vars(record)["stack"].endswith(f"{__file__}:{fail.__code__.co_firstlineno + 1} fail")
    assert "exchange.py" in vars(record)["stack"]
    assert "a secret" not in caplog.text
    exchange._committer._pool.submit(connections.close_all).result()
