"""The time limits of runs: which signal is sent when, and what the slots say."""

import signal
from multiprocessing import get_context
from typing import Any

import pytest

from workers.runs import slots as slots_module
from workers.runs.limits import KILL_SECONDS, Limits
from workers.runs.slots import Running, Slots

PID = 4711


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Watched:
    """Slots under limits; the signals are noted, not sent."""

    def __init__(self, clock: Clock, children: set[int]) -> None:
        self.clock, self.slots, self.children = clock, Slots(2), children
        self.sent: list[tuple[str, int]] = []
        self._limits = Limits(
            self.slots,
            children=lambda: self.children,
            kill=lambda pid, number: self.sent.append((signal.Signals(number).name, pid)),
            kill_group=lambda pid, number: self.sent.append((f"{signal.Signals(number).name} of the group", pid)),
        )

    def begins(self, job_id: int = 1, *, soft: float = 8.0, hard: float = 10.0) -> Running:
        return self.slots.begin(0, job_id, 1, pid=PID, soft_limit=soft, hard_limit=hard)

    def after(self, seconds: float) -> list[tuple[str, int]]:
        """Return what is sent once so many seconds more have gone by."""
        self.clock.now += seconds
        self._limits.check(now=self.clock.now)
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    clock = Clock()
    monkeypatch.setattr(slots_module, "time", clock)
    return Watched(clock, {PID})


def test_each_limit_is_signalled_once_and_then_the_group_is_killed(watched: Watched) -> None:
    running = watched.begins()
    assert watched.after(7.9) == []
    assert watched.after(0.2) == [("SIGUSR1", PID)]
    assert watched.after(1.0) == []
    assert not watched.slots.has_reached_hard_limit(0, running)
    assert watched.after(1.0) == [("SIGTERM", PID)]
    assert watched.slots.has_reached_hard_limit(0, running)
    assert watched.after(KILL_SECONDS / 2) == []
    assert watched.after(KILL_SECONDS) == [("SIGKILL of the group", PID)]


def test_a_run_that_has_ended_has_no_limits_and_the_next_one_has_its_own(watched: Watched) -> None:
    first = watched.begins()
    assert watched.after(9.0) == [("SIGUSR1", PID)]
    watched.slots.end(0)
    assert watched.after(60.0) == []
    second = watched.begins(2)
    assert watched.after(1.0) == []
    assert watched.after(7.5) == [("SIGUSR1", PID)]
    assert not watched.slots.has_reached_hard_limit(0, first)
    assert not watched.slots.has_reached_hard_limit(0, second)


def test_a_thread_that_was_held_up_sends_the_later_signal_alone(watched: Watched) -> None:
    watched.begins()
    assert watched.after(10.5) == [("SIGTERM", PID)]


def test_no_process_is_signalled_that_is_not_a_child_any_more(watched: Watched) -> None:
    watched.begins()
    watched.children.clear()
    assert watched.after(60.0) == []


def test_a_child_that_is_gone_costs_the_others_nothing() -> None:
    def gone(_pid: int, _number: int) -> None:
        raise ProcessLookupError

    slots = Slots(1)
    slots.begin(0, 1, 1, pid=PID, soft_limit=-1.0, hard_limit=60.0)
    Limits(slots, children=lambda: {PID}, kill=gone).check(now=slots.read(0).soft_limit_at)  # type: ignore[union-attr]


def test_what_one_process_writes_another_reads_whole() -> None:
    """A reader beside a writer that never pauses sees each run as it was written, or none."""
    slots = Slots(1)
    context = get_context("fork")
    stop = context.Event()
    writer = context.Process(target=write_on, args=(slots, stop))
    writer.start()
    try:
        found: set[Any] = set()
        while len(found) < 200:
            running = slots.read(0)
            if running is not None:
                assert running.attempt == running.pid == running.job_id % 1000 + 1
                assert running.hard_limit_at - running.began_at == pytest.approx(running.attempt)
                found.add(running.job_id)
    finally:
        stop.set()
        writer.join()


def write_on(slots: Slots, stop: Any) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        own = number % 1000 + 1
        slots.begin(0, number, own, pid=own, soft_limit=0.0, hard_limit=float(own))


def test_a_slot_says_whether_its_child_is_in_a_turn() -> None:
    slots = Slots(2)
    slots.enter(1)
    assert [slots.is_in_turn(place) for place in (0, 1)] == [False, True]
    slots.leave(1)
    assert not slots.is_in_turn(1)
