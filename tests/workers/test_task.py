"""What a worker does with a message, in this process: the ways that a run in a real worker seldom takes."""

import itertools
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from tests.support.inbox_rows import make_delivery, make_job
from webhooks.inbox import transitions
from webhooks.models import Attempt, Job, Source
from webhooks.states import JobState
from webhooks.subscriptions.event import Event, Run
from webhooks.subscriptions.subscription import Defaults, Subscription, Subscriptions, discover, on
from workers.processes import recycling
from workers.runs import task
from workers.runs.handler import HandlerWindow
from workers.runs.registration import register

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@on("push")
def tell(event: Event, run: Run) -> str:
    return f"{event.repository} {event.payload['ref']} {event.idempotency_key} {run.attempt} {run.stopping()}"


(TELL,) = discover([("app", sys.modules[__name__])], defaults=Defaults(queue="q", time_limit=30, max_attempts=2))


def new_job(*, handler: str = "app.tell", body: bytes | None = b'{"ref": "main"}') -> Job:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    delivery = make_delivery(body, hook_id=7, guid=uuid.UUID(int=7), headers=headers)
    return make_job(JobState.QUEUED, delivery=delivery, handler=handler, queue="q", max_attempts=2, publish_at=Now())


@pytest.fixture
def window() -> Iterator[HandlerWindow]:
    window = HandlerWindow(TELL)
    yield window
    window.leave()


@pytest.mark.parametrize("returned", ["coroutine", "generator", "async_generator"])
def test_a_handler_that_returns_what_has_not_run_has_failed(window: HandlerWindow, returned: str) -> None:
    """A decorator may hide an asynchronous function from the checks."""

    async def coroutine() -> None: ...

    def generator() -> Iterator[None]:
        yield

    async def async_generator() -> AsyncIterator[None]:
        yield

    made: dict[str, Any] = {"coroutine": coroutine, "generator": generator, "async_generator": async_generator}
    unrun = made[returned]()
    job = new_job()
    subscription = replace(TELL, handler=lambda event, run: unrun)
    assert task.perform(subscription, job.pk, worker="worker@test", window=window) == "failed"
    message = Attempt.objects.get(job=job).message
    assert message == f"TypeError: The handler returned {returned}: nothing of it has run."
    if returned == "coroutine":
        unrun.close()


def perform(job: Job, window: HandlerWindow) -> str:
    return task.perform(TELL, job.pk, worker="worker@test", window=window)


def test_a_handler_gets_the_event_of_its_delivery_and_its_run(window: HandlerWindow) -> None:
    job = new_job()
    assert perform(job, window) == "succeeded"
    job.refresh_from_db()
    assert job.result == f"acme/widgets main github:7:{uuid.UUID(int=7)}:app.tell 1 False"


def test_a_handler_gets_half_a_character_as_the_replacement_character(window: HandlerWindow) -> None:
    job = new_job(body=rb'{"ref": "cut off \ud83d"}')
    assert perform(job, window) == "succeeded"
    job.refresh_from_db()
    assert job.result.startswith("acme/widgets cut off \N{REPLACEMENT CHARACTER} github:7:")


def test_a_job_whose_payload_was_pruned_is_dead_and_says_so(window: HandlerWindow) -> None:
    job = new_job(body=None)
    assert perform(job, window) == "gave_up"
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.DEAD, "The payload has been pruned.")


@pytest.mark.parametrize(
    ("fault", "outcome", "message"),
    [
        ("out of memory for query result", "failed", "MemoryError: The payload takes more memory than"),
        ("server closed the connection", "retry_later", "The database was away as the payload was read."),
    ],
)
def test_a_payload_that_cannot_be_read_ends_a_run_that_is_counted(
    fault: str, outcome: str, message: str, window: HandlerWindow
) -> None:
    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if "FROM webhooks_payload" in sql:
            raise OperationalError(fault)
        return execute(sql, *rest)

    job = new_job()
    with connection.execute_wrapper(fail):
        assert perform(job, window) == outcome
    attempt = Attempt.objects.get(job=job)
    assert (attempt.number, attempt.outcome) == (1, outcome)
    assert attempt.message.startswith(message)


def test_a_message_under_another_handlers_name_runs_nothing(window: HandlerWindow) -> None:
    job = new_job(handler="app.other")
    assert perform(job, window) == "gave_up"
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.DEAD, "The message named app.tell.")


def failing(monkeypatch: pytest.MonkeyPatch, name: str, *, times: int = 1) -> list[str]:
    """Let the first calls of a transition fail as a connection does that was cut while it was idle."""
    real, calls = getattr(transitions, name), []

    def transition(*args: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) <= times:
            raise OperationalError("server closed the connection unexpectedly")
        return real(*args, **options)

    monkeypatch.setattr(transitions, name, transition)
    return calls


def test_a_connection_cut_while_idle_costs_no_claim(window: HandlerWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = failing(monkeypatch, "claim")
    assert perform(new_job(), window) == "succeeded"
    assert len(calls) == 2


def test_a_job_that_cannot_be_claimed_is_left_to_the_relay(
    window: HandlerWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "PAUSE_SECONDS", 0.01)
    failing(monkeypatch, "claim", times=10)
    job = new_job()
    assert perform(job, window) == "left to the relay"
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)


def test_an_outcome_that_cannot_be_recorded_is_recorded_again(
    window: HandlerWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "PAUSE_SECONDS", 0.01)
    calls = failing(monkeypatch, "record", times=3)
    job = new_job()
    assert perform(job, window) == "succeeded"
    assert len(calls) == 4
    assert Attempt.objects.get(job=job).outcome == "succeeded"


def test_an_outcome_that_cannot_be_recorded_within_the_lease_is_left_to_it(
    window: HandlerWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "PAUSE_SECONDS", 1000)
    failing(monkeypatch, "record", times=10)
    job = new_job()
    with pytest.raises(OperationalError):
        perform(job, window)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING


def test_a_message_of_an_unknown_version_runs_nothing() -> None:
    job = new_job()
    handler_task = task_of(TELL)
    handler_task.push_request(hookline=2, hostname="worker@test")  # type: ignore[call-arg]
    assert handler_task.run(job.pk) == "dropped"
    job.refresh_from_db()
    assert job.state == JobState.QUEUED


def task_of(subscription: Subscription) -> task.HandlerTask:
    app = Celery("trial", set_as_current=False)
    register(app, Subscriptions([subscription]))
    registered = app.tasks[subscription.name]
    assert isinstance(registered, task.HandlerTask)
    return registered


def test_the_limits_of_the_message_are_those_that_the_run_goes_by() -> None:
    assert task.under_limits(TELL, None) == TELL
    limited = task.under_limits(TELL, [7, 5])
    assert (limited.time_limit, limited.soft_time_limit) == (7, 5)


def performed(function: Any) -> Job:
    subscription = replace(TELL, handler=function, takes_run=False)
    window = HandlerWindow(subscription)
    job = new_job()
    try:
        task.perform(subscription, job.pk, worker="worker@test", window=window)
    finally:
        window.leave()
    job.refresh_from_db()
    return job


def test_an_exception_with_undecodable_bytes_is_recorded() -> None:
    def fail(event: Event) -> None:
        raise ValueError(os.fsdecode(b"\xff"))

    job = performed(fail)
    assert (job.state, job.error) == (JobState.RETRYING, "ValueError: ?")


def test_a_handler_that_leaves_a_transaction_open_has_failed_and_spoils_nothing() -> None:
    def leave_open(event: Event) -> None:
        connection.set_autocommit(False)
        Source.objects.create(name="rolled-back")

    job = performed(leave_open)
    assert (job.state, job.error) == (JobState.RETRYING, "The handler left a transaction open; it is rolled back.")
    assert not Source.objects.filter(name="rolled-back").exists()
    assert connection.get_autocommit()


def test_a_handler_that_enters_a_block_and_never_leaves_it_has_failed_too() -> None:
    def enter(event: Event) -> None:
        transaction.atomic().__enter__()
        Source.objects.create(name="rolled-back")

    assert performed(enter).error == "The handler left a transaction open; it is rolled back."
    assert not Source.objects.filter(name="rolled-back").exists()


def test_a_message_too_many_does_not_count_as_a_job_of_the_child(
    window: HandlerWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    monkeypatch.setattr(recycling, "_jobs", itertools.count(1))
    monkeypatch.setattr(recycling, "retire", lambda: ends.append("the child"))
    monkeypatch.setattr(settings, "HOOKLINE_CHILD_MAX_JOBS", 2)
    job = new_job()
    assert [perform(job, window) for _ in range(2)] == ["succeeded", "dropped"]
    assert ends == []
    Job.objects.filter(pk=job.pk).update(state=JobState.QUEUED)
    assert (perform(job, window), ends) == ("succeeded", ["the child"])
