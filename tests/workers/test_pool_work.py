"""What a worker's parent process has a child do: it takes a place in the pool and gives it back, as a message does."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from django.db import connection
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from webhooks.states import AttemptOutcome
from workers.runs import ended_processes, inbox_check, pool_work
from workers.runs.ended_processes import EndedRun, Watch
from workers.runs.inbox_check import InboxCheck, inbox_fault
from workers.runs.pool_work import do_in_child


class Worker:
    """A worker with children that end what they are given when a test says so, and then give their places back."""

    hostname = "worker-1@host"

    def __init__(self, children: int) -> None:
        self.semaphore: LaxBoundedSemaphore | None = LaxBoundedSemaphore(children)
        self.pool = SimpleNamespace(
            apply_async=self.apply_async,
            num_processes=children,
            _pool=SimpleNamespace(process_flush_queues=lambda _child: None),
        )
        self.timer = SimpleNamespace(call_after=self.call, call_repeatedly=self.call)
        self.given: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def apply_async(self, function: Callable[..., Any], args: tuple[Any, ...] = (), **options: Any) -> None:
        self.given.append((function, args, options))

    def call(self, _seconds: float, function: Callable[[], None]) -> Any:
        function()
        return SimpleNamespace(cancel=lambda: None)

    def take_message(self, name: str) -> None:
        assert self.semaphore is not None
        self.semaphore.acquire(self.apply_async, print, args=(name,))

    def end_first(self) -> None:
        self.given.pop(0)
        assert self.semaphore is not None
        self.semaphore.release()

    def names(self) -> list[Any]:
        return [args[0] for _, args, _ in self.given]


def test_what_a_child_does_takes_a_place_in_the_pool_and_gives_it_back() -> None:
    worker = Worker(2)
    do_in_child(worker, print, "record")
    for name in ("first", "second"):
        worker.take_message(name)
    assert worker.names() == ["record", "first"]
    worker.end_first()
    assert worker.names() == ["first", "second"]
    worker.end_first()
    worker.end_first()
    assert worker.semaphore is not None
    assert worker.semaphore.value == 2


def test_what_waits_for_a_child_goes_before_the_messages_that_wait() -> None:
    worker = Worker(1)
    for name in ("running", "waiting"):
        worker.take_message(name)
    do_in_child(worker, print, "record")
    worker.end_first()
    assert worker.names() == ["record"]
    worker.end_first()
    assert worker.names() == ["waiting"]


def test_where_the_pool_itself_waits_for_a_free_child_it_gets_the_work_at_once() -> None:
    worker = Worker(1)
    worker.semaphore = None
    do_in_child(worker, print, "record", timeout=5.0)
    assert worker.given == [(print, ("record",), {"timeout": 5.0})]


def test_a_worker_that_stops_gives_its_children_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(1)
    worker.take_message("running")
    do_in_child(worker, print, "waits for a place")
    monkeypatch.setattr(pool_work, "is_stopping", lambda: True)
    worker.end_first()
    do_in_child(worker, print, "comes too late")
    assert worker.given == []


def test_the_record_of_ended_runs_takes_a_place_each_time_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_processes, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(ended_processes, "_watch", None)
    worker = Worker(2)
    worker.timer = SimpleNamespace(call_repeatedly=lambda *_args: None)
    watch = Watch(worker)
    watch.start(worker)
    watch.saw(EndedRun(job_id=1, handler="shop.count", pid=11, kind=AttemptOutcome.CRASHED, reason="It ended."))
    assert worker.semaphore is not None
    for _ in range(2):
        watch.tick()
        assert (len(worker.given), worker.semaphore.value) == (1, 1)
        worker.given[0][2]["error_callback"](WorkerLostError())
        worker.end_first()
    assert worker.semaphore.value == 2


def test_the_inbox_is_asked_about_again_until_it_can_be_used(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(1)
    check = InboxCheck(worker)
    check.start(worker)
    ((function, _, options),) = worker.given
    assert function is inbox_fault
    check._ask()
    assert len(worker.given) == 1  # No second question before the answer.
    options["error_callback"](WorkerLostError())
    worker.end_first()
    check._ask()
    worker.given[0][2]["callback"]("the database is away")
    assert [record.getMessage() for record in caplog.records if record.name == inbox_check.__name__] == ["worker waits"]
    worker.end_first()
    check._ask()
    worker.given[0][2]["callback"]("")
    worker.end_first()
    check._ask()
    assert worker.given == []


def test_the_inbox_is_asked_about_again_where_a_lost_broker_took_the_question_along() -> None:
    worker = Worker(1)
    worker.take_message("running")
    check = InboxCheck(worker)
    check.start(worker)
    assert worker.semaphore is not None
    worker.semaphore.clear()
    check.register_with_event_loop(worker, None)
    check._ask()
    assert worker.given[-1][0] is inbox_fault


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_an_inbox_that_can_be_used_has_no_fault() -> None:
    assert inbox_fault() == ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_an_inbox_that_lacks_what_a_claim_needs_has_a_fault() -> None:
    rename = "ALTER TABLE webhooks_job RENAME COLUMN {} TO {}"
    with connection.cursor() as cursor:
        cursor.execute(rename.format("publications", "renamed"))
    try:
        assert inbox_fault() == "the database is not migrated; run manage.py migrate"
    finally:
        with connection.cursor() as cursor:
            cursor.execute(rename.format("renamed", "publications"))
