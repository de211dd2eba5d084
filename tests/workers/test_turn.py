"""A child's turn, in this process: what it makes of the jobs that it is given, and what it says of them."""

import itertools
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from celery import Celery
from django.conf import settings
from django.db import OperationalError, connection, connections, transaction
from django.db.models.functions import Now

from tests.support.inbox_rows import make_delivery, make_job
from webhooks.inbox import transitions
from webhooks.inbox.claimed_job import SMALL_BODY_BYTES, ClaimedJob
from webhooks.inbox.outcomes import LONGEST_TEXT, Outcome
from webhooks.models import Source
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.event import Event, GiveUp, RetryLater, Run
from webhooks.subscriptions.subscription import Defaults, Subscription, Subscriptions, discover, on
from workers.processes import descendants, recycling
from workers.runs import channels, turn
from workers.runs.channels import Pair
from workers.runs.messages import Declined, Entered, Give, Hello, Leave, RunEnded
from workers.runs.registration import register
from workers.runs.slots import Running, Slots
from workers.runs.task import HandlerTask
from workers.runs.turn import Child

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@on("push")
def tell(event: Event, run: Run) -> str:
    return f"{event.repository} {event.payload['ref']} {event.idempotency_key} {run.attempt} {run.stopping()}"


(TELL,) = discover([("app", sys.modules[__name__])], defaults=Defaults(queue="q", time_limit=30, max_attempts=2))


class Turn:
    """One child, and the dispatcher's end of its sockets."""

    def __init__(self, subscription: Subscription = TELL, slots: Slots | None = None) -> None:
        self.pair, self.slots = Pair(), slots or Slots(1)
        self.child = Child(0, self.pair.child, self.slots, Subscriptions([subscription]))

    def take(self, *messages: Any) -> str:
        """Let the child take a turn in which the dispatcher says this, and in the end that it may leave."""
        for message in (*messages, Leave(os.getpid())):
            channels.send(self.pair.dispatcher, message)
        return self.child.take_jobs("q")

    def said(self) -> list[Any]:
        """Return what the child has said since it was last asked."""
        return list(iter(lambda: channels.take(self.pair.dispatcher), None))

    def close(self) -> None:
        self.pair.close()


@pytest.fixture(autouse=True)
def _as_just_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a child that has gained no memory: this process may hold more than one may, of all tests that it has run."""
    monkeypatch.setattr(recycling, "_start_bytes", recycling.held_bytes())
    monkeypatch.setattr(descendants, "_is_retired", False)


@pytest.fixture
def one() -> Iterator[Turn]:
    one = Turn()
    yield one
    one.close()


def claimed(*, handler: str = "app.tell", body: bytes | None = b'{"ref": "main"}', **columns: Any) -> ClaimedJob:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    delivery = make_delivery(body, hook_id=7, guid=uuid.uuid4(), headers=headers)
    values = {"handler": handler, "queue": "q", "max_attempts": 2, "publish_at": Now(), **columns}
    job = make_job(JobState.QUEUED, delivery=delivery, **values)
    found = transitions.claim(job.pk, worker="worker@test", lease_seconds=60, handler=handler)
    assert found is not None
    return found


def give(job: ClaimedJob, *, recorded: int = 0) -> Give:
    return Give(job, recorded, os.getpid(), begins_by=time.monotonic() + 60)


def outcome_of(function: Any, job: ClaimedJob | None = None, **options: Any) -> Outcome:
    """Return how the run of this handler ends."""
    one = Turn(replace(TELL, handler=function, takes_run=False, **options))
    try:
        one.take(give(job or claimed()))
        _entered, ended = one.said()
        assert isinstance(ended, RunEnded)
        return ended.outcome
    finally:
        one.close()


def test_it_runs_what_it_is_given_and_says_how_each_ended(one: Turn) -> None:
    jobs = [claimed(), claimed()]
    assert one.take(*(give(job) for job in jobs)) == "2 jobs"

    entered, *ended = one.said()
    assert entered == Entered(os.getpid(), "q")
    assert [(run.number, run.job_id, run.job, run.pid, run.is_last) for run in ended] == [
        (number, job.pk, None, os.getpid(), False) for number, job in enumerate(jobs, start=1)
    ]
    assert {run.outcome.kind for run in ended} == {AttemptOutcome.SUCCEEDED}
    assert all(run.began_at <= run.ended_at for run in ended)
    assert one.slots.read(0) is None
    assert not one.slots.is_in_turn(0)


def test_a_handler_gets_the_event_of_its_delivery_and_its_run(one: Turn) -> None:
    job = claimed()
    one.take(give(job))
    assert one.said()[1].outcome.message == f"acme/widgets main github:7:{job.guid}:app.tell 1 False"


def test_while_it_runs_its_slot_says_what_and_under_which_limits() -> None:
    seen: list[Running | None] = []
    slots = Slots(1)
    one = Turn(replace(TELL, handler=lambda event: seen.append(slots.read(0)), takes_run=False), slots)
    job = claimed()
    one.take(give(job))
    [running] = seen
    assert running is not None
    assert (running.job_id, running.attempt, running.pid) == (job.pk, 1, os.getpid())
    assert running.soft_limit_at - running.began_at == pytest.approx(TELL.soft_time_limit)
    assert running.hard_limit_at - running.began_at == pytest.approx(TELL.time_limit)
    one.close()


def test_a_new_dispatcher_hears_what_the_one_before_had_not_recorded(one: Turn) -> None:
    jobs = [claimed() for _ in range(3)]
    one.take(give(jobs[0]), give(jobs[1]), give(jobs[2], recorded=1), Hello())
    said = [(type(message), getattr(message, "number", 0)) for message in one.said()]
    assert said == [
        *((Entered, 0), (RunEnded, 1), (RunEnded, 2), (RunEnded, 3)),
        *((RunEnded, 2), (RunEnded, 3), (Entered, 0)),
    ]
    one.take(Hello())
    assert [type(message) for message in one.said()] == [Entered, Entered], "What its last turn recorded is forgotten."


@pytest.mark.parametrize("why", ["the worker stops", "the child has had enough"])
def test_what_it_may_no_longer_begin_goes_back(one: Turn, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "is_stopping" if why == "the worker stops" else "is_retired"
    job = claimed()
    monkeypatch.setattr(turn, name, lambda: True)
    one.take(give(job))
    assert one.said() == [Entered(os.getpid(), "q"), Declined(job)]


def test_after_its_number_of_jobs_it_takes_no_more(one: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    retired: list[bool] = []
    monkeypatch.setattr(recycling, "_jobs", itertools.count(1))
    monkeypatch.setattr(turn, "retire", lambda: retired.append(True))
    monkeypatch.setattr(turn, "is_retired", lambda: bool(retired))
    monkeypatch.setattr(settings, "HOOKLINE_CHILD_MAX_JOBS", 2)
    jobs = [claimed() for _ in range(3)]
    one.take(*(give(job) for job in jobs))
    _, first, second, third = one.said()
    assert (first.is_last, second.is_last, third) == (False, True, Declined(jobs[2]))


@pytest.mark.parametrize("returned", ["coroutine", "generator", "async_generator"])
def test_a_handler_that_returns_what_has_not_run_has_failed(returned: str) -> None:
    """A decorator may hide an asynchronous function from the checks."""

    async def coroutine() -> None: ...

    def generator() -> Iterator[None]:
        yield

    async def async_generator() -> AsyncIterator[None]:
        yield

    made: dict[str, Any] = {"coroutine": coroutine, "generator": generator, "async_generator": async_generator}
    unrun = made[returned]()
    outcome = outcome_of(lambda event: unrun)
    message = f"TypeError: The handler returned {returned}: nothing of it has run."
    assert (outcome.kind, outcome.message) == (AttemptOutcome.FAILED, message)
    if returned == "coroutine":
        unrun.close()


def test_a_handler_gets_half_a_character_as_the_replacement_character(one: Turn) -> None:
    one.take(give(claimed(body=rb'{"ref": "cut off \ud83d"}')))
    assert one.said()[1].outcome.message.startswith("acme/widgets cut off \N{REPLACEMENT CHARACTER} github:7:")


def test_a_job_whose_payload_was_pruned_gives_up_and_says_so() -> None:
    outcome = outcome_of(lambda event: None, claimed(body=None))
    assert (outcome.kind, outcome.message) == (AttemptOutcome.GAVE_UP, "The payload has been pruned.")


LARGE = b'{"ref": "%s"}' % (b"x" * SMALL_BODY_BYTES)


def test_a_large_payload_is_read_by_the_child_which_keeps_no_connection_for_it() -> None:
    job = claimed(body=LARGE)
    assert job.body is None
    connection.close()
    outcome = outcome_of(lambda event: f"{len(event.payload['ref'])}", job)
    assert outcome.message == f"{SMALL_BODY_BYTES}"
    assert connection.connection is None


def test_a_small_payload_needs_no_connection_at_all() -> None:
    job = claimed()
    connection.close()
    assert outcome_of(lambda event: event.payload["ref"], job).message == "main"
    assert connection.connection is None


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("out of memory for query result", "failed", "MemoryError: The payload takes more memory than"),
        ("server closed the connection", "retry_later", "The database was away as the payload was read."),
    ],
)
def test_a_payload_that_cannot_be_read_ends_a_run_that_is_counted(fault: str, kind: str, message: str) -> None:
    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if "FROM webhooks_payload" in sql:
            raise OperationalError(fault)
        return execute(sql, *rest)

    job = claimed(body=LARGE)
    with connection.execute_wrapper(fail):
        outcome = outcome_of(lambda event: None, job)
    assert outcome.kind.value == kind
    assert outcome.message.startswith(message)


def test_an_exception_with_characters_that_no_column_takes_can_be_told(one: Turn) -> None:
    def fail(event: Event) -> None:
        raise ValueError(os.fsdecode(b"<\xff\0>"))

    outcome = outcome_of(fail)
    assert (outcome.kind, outcome.message) == (AttemptOutcome.FAILED, "ValueError: <?>")
    assert outcome.traceback.endswith("ValueError: <?>\n")


@pytest.mark.parametrize("kind", ["succeeded", "failed", "gave_up", "retry_later"])
def test_an_outcome_longer_than_a_message_may_be_is_cut(kind: str) -> None:
    text = "\N{DUCK}" * channels.LARGEST_MESSAGE

    def handle(event: Event) -> str:
        errors = {"failed": ValueError(text), "gave_up": GiveUp(text), "retry_later": RetryLater(text, after=1)}
        if kind in errors:
            raise errors[kind]
        return text

    outcome = outcome_of(handle)
    assert (outcome.kind.value, len(outcome.message)) == (kind, LONGEST_TEXT)


def test_a_handler_that_leaves_a_transaction_open_has_failed_and_spoils_nothing() -> None:
    def leave_open(event: Event) -> None:
        connection.set_autocommit(False)
        Source.objects.create(name="rolled-back")

    assert outcome_of(leave_open).message == "The handler left a transaction open; it is rolled back."
    assert not Source.objects.filter(name="rolled-back").exists()
    assert connection.get_autocommit()


def test_a_handler_that_enters_a_block_and_never_leaves_it_has_failed_too() -> None:
    def enter(event: Event) -> None:
        transaction.atomic().__enter__()
        Source.objects.create(name="rolled-back")

    assert outcome_of(enter).message == "The handler left a transaction open; it is rolled back."
    assert not Source.objects.filter(name="rolled-back").exists()


def test_a_transaction_left_open_on_a_database_that_a_handler_has_added_ends_with_its_run() -> None:
    added = Mock(connection=object(), in_atomic_block=False, autocommit=False)

    def add(event: Event) -> None:
        connections.databases["added"] = {}
        connections["added"] = added

    try:
        assert outcome_of(add).message == "The handler left a transaction open; it is rolled back."
        added.close.assert_called_once_with()
    finally:
        del connections["added"], connections.databases["added"]


class TestMessage:
    def test_of_an_unknown_version_begins_no_turn(self) -> None:
        task = task_of(TELL)
        task.push_request(hookline=2, hostname="worker@test")  # type: ignore[call-arg]
        assert task.run(1) == "dropped"

    def test_that_comes_after_the_stop_has_begun_begins_no_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("workers.runs.task.is_stopping", lambda: True)
        assert task_of(TELL).run(1) == "handed back"

    def test_begins_a_turn_with_its_queue(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turn, "take_jobs", lambda queue: f"a turn of {queue}")
        assert task_of(TELL).run(1) == "a turn of q"

    def test_ends_no_worker_though_no_memory_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(queue: str) -> str:
            raise MemoryError

        monkeypatch.setattr(turn, "take_jobs", fail)
        with pytest.raises(RuntimeError, match="no memory left"):
            task_of(TELL).run(1)


def task_of(subscription: Subscription) -> HandlerTask:
    app = Celery("trial", set_as_current=False)
    register(app, Subscriptions([subscription]))
    registered = app.tasks[subscription.name]
    assert isinstance(registered, HandlerTask)
    return registered
