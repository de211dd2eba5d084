"""What a worker does with a message, in this process: the ways that a run in a real worker seldom takes."""

import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from webhooks import transitions
from webhooks.event import Event, Run
from webhooks.models import Attempt, Delivery, Job, JobState, Payload, Source
from webhooks.subscriptions import Defaults, discover, on
from workers import task
from workers.run import HandlerWindow

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@on("push")
def tell(event: Event, run: Run) -> str:
    return f"{event.repository} {event.payload['ref']} {event.idempotency_key} {run.attempt} {run.stopping()}"


(TELL,) = discover([("app", sys.modules[__name__])], defaults=Defaults(queue="q", time_limit=30, max_attempts=2))


def new_job(*, handler: str = "app.tell", body: bytes | None = b'{"ref": "main"}') -> Job:
    source, _ = Source.objects.get_or_create(name="github")
    delivery = Delivery.objects.create(
        source=source,
        hook_id=7,
        guid=uuid.UUID(int=7),
        event="push",
        repository="acme/widgets",
        secret_fingerprint="0" * 12,
        headers={"Content-Type": "application/json; charset=utf-8"},
        body_bytes=2,
    )
    if body is not None:
        Payload.objects.create(delivery=delivery, body=body)
    return Job.objects.create(delivery=delivery, handler=handler, queue="q", max_attempts=2, publish_at=Now())


@pytest.fixture
def window() -> Iterator[HandlerWindow]:
    window = HandlerWindow(TELL)
    yield window
    window.leave()


def perform(job: Job, window: HandlerWindow) -> str:
    return task.perform(TELL, job.pk, worker="worker@test", window=window)


def test_a_handler_gets_the_event_of_its_delivery_and_its_run(window: HandlerWindow) -> None:
    job = new_job()
    assert perform(job, window) == "succeeded"
    job.refresh_from_db()
    assert job.result == f"acme/widgets main github:7:{uuid.UUID(int=7)}:app.tell 1 False"


def test_a_job_whose_payload_was_pruned_is_dead_and_says_so(window: HandlerWindow) -> None:
    job = new_job(body=None)
    assert perform(job, window) == "gave_up"
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.DEAD, "The payload has been pruned.")


def test_a_message_under_another_handlers_name_runs_nothing(window: HandlerWindow) -> None:
    job = new_job(handler="app.other")
    assert perform(job, window) == "gave_up"
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.DEAD, "The message named app.tell.")


def failing_once(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Let the first call of a transition fail as a connection does that was cut while it was idle."""
    real, calls = getattr(transitions, name), []

    def transition(*args: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return real(*args, **options)

    monkeypatch.setattr(transitions, name, transition)
    return calls


def test_a_connection_cut_while_idle_costs_no_claim(window: HandlerWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = failing_once(monkeypatch, "claim")
    assert perform(new_job(), window) == "succeeded"
    assert len(calls) == 2


def test_an_outcome_that_cannot_be_recorded_is_recorded_again(
    window: HandlerWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "RECORD_PAUSE_SECONDS", 0.01)
    calls = failing_once(monkeypatch, "record")
    job = new_job()
    assert perform(job, window) == "succeeded"
    assert len(calls) == 2
    assert Attempt.objects.get(job=job).outcome == "succeeded"


def test_an_outcome_that_cannot_be_recorded_within_the_lease_is_left_to_it(
    window: HandlerWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "RECORD_PAUSE_SECONDS", 1000)
    failing_once(monkeypatch, "record")
    job = new_job()
    with pytest.raises(OperationalError):
        perform(job, window)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING
