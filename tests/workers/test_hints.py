"""A message while children wait for jobs: taken by the dispatcher, or given to the pool, and never lost."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.claimed_jobs import claimed_job
from tests.workers.bench import Bench, benches
from workers.runs import channels, hints
from workers.runs.channels import Pair
from workers.runs.hints import Hints
from workers.runs.messages import Answered, Heard

# --- The parent -------------------------------------------------------------------------------------------------------


class Parent:
    """The parent's side, with what became of its messages."""

    def __init__(self) -> None:
        self.pair = Pair()
        self.pair.child.setblocking(False)
        self.hints = Hints()
        self.hints.open(self.pair.child)
        self.begun: list[Any] = []
        self.acknowledged: list[Any] = []
        self.dropped: list[Any] = []

    def receive(self, name: str, *, begin: Callable[..., Any] | None = None, **headers: Any) -> None:
        def ack(_logger: Any, _errors: Any) -> None:
            self.acknowledged.append(name)

        def reject(_logger: Any, _errors: Any, requeue: bool) -> None:
            assert not requeue
            self.dropped.append(name)

        strategy = self.hints.strategy("q", begin=begin or (lambda *_message: self.begun.append(name)), errors=())
        strategy(SimpleNamespace(headers=headers), None, ack, reject, [])

    def asked(self) -> list[Heard]:
        return list(iter(lambda: channels.take(self.pair.dispatcher), None))


@pytest.fixture
def parent() -> Iterator[Parent]:
    parent = Parent()
    yield parent
    parent.pair.close()


def test_a_message_that_is_taken_is_acknowledged_and_begins_no_turn(parent: Parent) -> None:
    parent.receive("one")
    assert parent.asked() == [Heard(1, "q")]
    assert (parent.begun, parent.acknowledged) == ([], [])
    parent.hints.hear_answer(Answered(1, is_taken=True))
    assert (parent.begun, parent.acknowledged) == ([], ["one"])


def test_a_message_that_is_left_begins_a_turn_as_any_task_of_celery(parent: Parent) -> None:
    parent.receive("one")
    parent.receive("two")
    parent.hints.hear_answer(Answered(2, is_taken=False))
    assert (parent.begun, parent.acknowledged) == (["two"], [])


def test_without_an_answer_it_begins_a_turn_in_the_end_and_a_later_answer_changes_nothing(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent.receive("one")
    parent.hints.give_up_waiting()
    assert parent.begun == []
    monkeypatch.setattr(hints, "LONGEST_SECONDS", 0.0)
    parent.hints.give_up_waiting()
    parent.hints.hear_answer(Answered(1, is_taken=True))
    assert (parent.begun, parent.acknowledged) == (["one"], [])


@pytest.mark.parametrize("why", ["no loop", "no room", "another version", "a stop"])
def test_where_nobody_can_be_asked_it_begins_a_turn_at_once(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "no loop":
        parent.hints = Hints()
    if why == "no room":
        for number in range(10_000):
            parent.receive(f"{number}")
        assert len(parent.begun) > 1_000
        parent.begun.clear()
    if why == "a stop":
        monkeypatch.setattr(hints, "is_stopping", lambda: True)
    parent.receive("last", hookline=2 if why == "another version" else 1)
    assert (parent.begun, parent.acknowledged) == (["last"], [])


def test_messages_of_a_lost_connection_are_forgotten(parent: Parent) -> None:
    parent.receive("one")
    parent.hints.forget()
    parent.hints.hear_answer(Answered(1, is_taken=True))
    assert (parent.begun, parent.acknowledged) == ([], [])


def test_a_malformed_message_is_dropped_and_ends_no_loop(parent: Parent, caplog: pytest.LogCaptureFixture) -> None:
    def begin(*_message: Any) -> None:
        raise ValueError("a secret")

    parent.receive("one", begin=begin)
    parent.hints.hear_answer(Answered(1, is_taken=False))
    assert parent.dropped == ["one"]
    assert caplog.messages == ["message refused"]
    assert "a secret" not in caplog.text


# --- The dispatcher ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bench_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    with benches(monkeypatch) as bench_of:
        yield bench_of


def hear(bench: Bench, *numbers: int) -> list[bool]:
    """Tell the dispatcher of messages; return which of them it takes."""
    for number in numbers:
        channels.send(bench.control.child, Heard(number, "default"))
    bench.go_on()
    answers = list(iter(lambda: channels.take(bench.control.child), None))
    assert [answer.number for answer in answers] == list(numbers)
    return [answer.is_taken for answer in answers]


def test_a_message_is_left_to_the_pool_while_no_child_is_in_its_turn(bench_of: Callable[..., Bench]) -> None:
    assert hear(bench_of(2), 1) == [False]


def test_as_many_messages_are_taken_as_children_wait_and_jobs_are_asked_for_at_once(
    bench_of: Callable[..., Bench],
) -> None:
    bench = bench_of(3)
    for place in (0, 1):
        bench.enter(place, 10 + place)
    bench.go_on()
    bench.answer()  # Nothing is due.
    before = len(bench.inbox.asked)
    assert hear(bench, 1, 2, 3) == [True, True, False]
    assert len(bench.inbox.asked) == before + 1


def test_while_jobs_are_asked_for_the_children_that_wait_are_spoken_for(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(2)
    bench.enter(0, 10)
    bench.go_on()
    assert bench.inbox.asked[-1].wanted
    assert hear(bench, 1) == [False]
    bench.enter(1, 11)
    bench.go_on()
    assert hear(bench, 2) == [False], "The message that began its turn counts on the second one."
    bench.answer(claimed_job(pk=1))
    assert bench.inbox.asked[-1].wanted, "Something was heard meanwhile, so the queue does not count as empty."


def test_a_child_at_work_takes_no_message(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(1)
    bench.enter(0, 10)
    bench.go_on()
    job = claimed_job(pk=1)
    bench.answer(job)
    bench.begin(0, job, pid=10)
    assert hear(bench, 1) == [False]


def test_a_parent_that_reads_no_answer_does_not_hold_the_dispatcher(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(1)
    for number in range(3000):
        channels.send(bench.control.child, Heard(number, "default"))
        bench.go_on()
    channels.take(bench.control.child)
    assert bench.dispatcher._queues.next(now=0.0) == "default"


def test_in_a_stop_no_message_is_taken(bench_of: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(1)
    bench.enter(0, 10)
    bench.go_on()
    bench.answer()
    monkeypatch.setattr("workers.dispatcher.process.is_stopping", lambda: True)
    assert hear(bench, 1) == [False]
