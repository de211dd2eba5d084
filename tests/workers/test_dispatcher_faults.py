"""What a dispatcher and a child make of ends at awkward moments: in this process, with a stand-in for the inbox."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import IntegrityError

from tests.support.claimed_jobs import claimed_job, ended_run
from tests.support.inbox_rows import make_job
from tests.support.processes import run_module
from tests.workers.bench import WORKER, Bench, benches
from webhooks.inbox import transitions
from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.inbox.outcomes import spent
from webhooks.inbox.transitions import Ended
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.event import Event
from webhooks.subscriptions.subscription import Defaults, discover, on
from workers.dispatcher import desk, exchange
from workers.dispatcher.exchange import Exchange, Request
from workers.dispatcher.queues import Queues
from workers.dispatcher.step import DispatcherStep
from workers.runs import channels, turn
from workers.runs.channels import Pair
from workers.runs.messages import ChildEnded, Declined, Entered, Give, Hello, Leave, RunEnded
from workers.runs.slots import Slots

FIRST, SECOND = claimed_job(pk=1), claimed_job(pk=2)


def two_jobs_in_one_child(bench: Bench) -> None:
    """The child in place 0, process 10, runs the first job and has the second one in its socket."""
    bench.dispatcher._desk._seconds[FIRST.handler] = 0.01  # Its runs are short, so that another waits behind one.
    bench.enter(0, 10)
    bench.go_on()
    bench.answer(FIRST, SECOND)
    bench.begin(0, FIRST, pid=10)


def test_what_a_dead_child_has_run_is_recorded_and_what_it_had_not_begun_is_given_to_its_successor(
    bench_of: Callable[..., Bench],
) -> None:
    """Though the successor speaks before the dispatcher has heard of the end, as after a pause of all processes."""
    bench = bench_of(1)
    two_jobs_in_one_child(bench)
    bench.end_child(0, 10)
    bench.enter(0, 11)
    bench.go_on()
    gives = [message for message in bench.said_to(0) if isinstance(message, Give) and message.pid == 11]
    assert [give.job for give in gives] == [SECOND]
    bench.answer()
    bench.go_on()
    cut_off = [run for request in bench.inbox.asked for run in request.cut_off]
    assert [(run.job_id, run.kind) for run in cut_off] == [(1, AttemptOutcome.CRASHED)]


def test_a_run_that_has_said_how_it_ended_is_not_cut_off_by_the_end_of_its_child(
    bench_of: Callable[..., Bench],
) -> None:
    """The child was killed after it had sent the outcome, and before it had cleared its slot."""
    bench = bench_of(1)
    two_jobs_in_one_child(bench)
    running = bench.slots.read(0)
    bench.end_run(0, FIRST, pid=10)
    channels.send(bench.control.child, ChildEnded(0, 10, -signal.SIGKILL, running, False))
    bench.go_on()
    bench.answer()
    bench.go_on()
    assert [run for request in bench.inbox.asked for run in request.cut_off] == []
    assert [run.job.pk for request in bench.inbox.asked for run in request.ended] == [1]


def test_a_job_that_waits_too_long_behind_another_goes_back_to_the_inbox_before_its_lease_ends(
    bench_of: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(1)
    two_jobs_in_one_child(bench)
    monkeypatch.setattr(desk, "LATE_SECONDS", -1.0)
    bench.go_on()
    bench.answer()
    assert [request.given_back for request in bench.inbox.asked][-1] == [SECOND]
    assert [message for message in bench.said_to(0) if isinstance(message, Give)] == []
    bench.go_on()
    assert bench.inbox.asked[-1].wanted is None  # And nothing else is claimed to wait there.


def test_a_child_does_not_leave_before_the_queue_was_asked_of_which_its_message_told(
    bench_of: Callable[..., Bench],
) -> None:
    """Though the inbox takes longer to answer for the queue before it than a child waits."""
    bench = bench_of(1)
    bench.dispatcher._queues = Queues(lambda: ("another", "default"))
    bench.dispatcher._desk.idle_seconds = -1.0
    bench.enter(0, 10)
    bench.go_on()
    for queue in ("another", "default"):
        assert [request.wanted and request.wanted.queue for request in bench.inbox.asked][-1] == queue
        assert bench.said_to(0) == []
        bench.answer()
    assert [type(message) for message in bench.said_to(0)] == [Leave]


def test_a_dispatcher_hears_of_its_parents_end_also_if_that_came_before_it_could(
    bench_of: Callable[..., Bench],
) -> None:
    assert run_module("tests.support.programs.detach_a_dispatcher").stdout == "waits\n"
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        signal.raise_signal(signal.SIGTERM)  # To this thread, which blocks it: the suite's process has another.
        assert bench_of(1).dispatcher._is_ending
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def test_an_outcome_that_a_new_dispatcher_gets_twice_is_recorded_once(bench_of: Callable[..., Bench]) -> None:
    """The child sent it again to one that ended before it had read that, and once more as the next one said hello."""
    before = bench_of(1)
    two_jobs_in_one_child(before)
    before.end_run(0, FIRST, pid=10, again=True)
    bench = bench_of(1, after=before)
    bench.go_on()
    assert [type(message) for message in bench.said_to(0)] == [Hello]
    bench.end_run(0, FIRST, pid=10, again=True)
    bench.enter(0, 10)
    bench.go_on()
    bench.answer()
    assert [run.job.pk for request in bench.inbox.asked for run in request.ended] == [1]
    assert not bench.dispatcher._desk.places[0].unrecorded


def test_a_new_dispatcher_hears_an_outcome_of_which_only_the_one_before_had_heard(
    bench_of: Callable[..., Bench],
) -> None:
    """Though another, which the child had sent later, has come first."""
    before = bench_of(1)
    two_jobs_in_one_child(before)
    before.end_run(0, FIRST, pid=10, number=1)
    before.go_on()
    before.begin(0, SECOND, pid=10)
    before.end_run(0, SECOND, pid=10, number=2)
    bench = bench_of(1, after=before)
    bench.go_on()
    bench.end_run(0, FIRST, pid=10, number=1, again=True)
    bench.end_run(0, SECOND, pid=10, number=2, again=True)
    bench.enter(0, 10)
    bench.go_on()
    bench.answer()
    recorded = [run.job.pk for request in bench.inbox.asked for run in request.ended]
    assert sorted(recorded) == [1, 2]


def test_what_a_dispatcher_had_claimed_is_given_back_by_the_next_one_while_a_child_is_in_a_long_run(
    bench_of: Callable[..., Bench],
) -> None:
    """The child says what it knows only after its run; until then its slot tells it."""
    before = bench_of(1)
    two_jobs_in_one_child(before)
    before.end_run(0, FIRST, pid=10)
    before.slots.owe(0, [(FIRST.pk, FIRST.attempt)])
    before.begin(0, SECOND, pid=10)
    before.go_on()  # It hears of the first one's end, and ends itself before it has recorded it.
    bench = bench_of(1, after=before)
    bench.go_on()
    assert bench.inbox.asked[-1].known == {(FIRST.pk, FIRST.attempt), (SECOND.pk, SECOND.attempt)}


def test_a_new_dispatcher_waits_for_a_child_that_is_about_to_speak_before_it_gives_anything_back(
    bench_of: Callable[..., Bench],
) -> None:
    before = bench_of(1)
    two_jobs_in_one_child(before)
    before.end_run(0, FIRST, pid=10)
    before.go_on()
    bench = bench_of(1, after=before)
    bench.go_on()
    assert bench.answer().given_back == [SECOND]  # Which it has found in the child's socket.
    assert all(request.known is None for request in bench.inbox.asked)
    bench.end_run(0, FIRST, pid=10, again=True)
    bench.enter(0, 10)
    bench.go_on()
    assert bench.inbox.asked[-1].known == {(FIRST.pk, FIRST.attempt)}


def test_a_child_that_has_just_left_its_turn_keeps_a_new_dispatcher_from_nothing(
    bench_of: Callable[..., Bench],
) -> None:
    before = bench_of(1)
    before.enter(0, 10)
    before.go_on()
    bench = bench_of(1, after=before)
    bench.slots.leave(0)
    bench.go_on()
    assert bench.inbox.asked[-1].known == set()


# --- The parent -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    with benches(monkeypatch) as bench_of:
        yield bench_of


@pytest.fixture
def parent() -> Iterator[tuple[DispatcherStep, Slots, Pair]]:
    step = DispatcherStep(SimpleNamespace(hostname=WORKER))
    slots, control = Slots(1), Pair()
    control.child.setblocking(False)
    step._slots, step._control = slots, control
    yield step, slots, control
    control.close()


def test_the_end_of_a_child_is_told_though_the_loop_does_not_turn_and_told_once(
    parent: tuple[DispatcherStep, Slots, Pair],
) -> None:
    step, slots, control = parent
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    slots.begin(0, 1, 1, pid=process.pid, soft_limit=60, hard_limit=60)
    child = SimpleNamespace(index=0, pid=process.pid, exitcode=-signal.SIGKILL)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    step._look_for_ends(SimpleNamespace(_pool=[child]))
    process.wait()
    step._reap(lambda _child: None, child)
    told = list(iter(lambda: channels.take(control.dispatcher), None))
    assert [(message.pid, message.exit_code, message.running.job_id) for message in told] == [(process.pid, -9, 1)]


def test_the_end_of_a_child_that_remote_control_has_added_is_nothing_to_tell(
    parent: tuple[DispatcherStep, Slots, Pair],
) -> None:
    step, slots, control = parent
    flushed: list[Any] = []
    child = SimpleNamespace(index=slots.count, pid=11, exitcode=0)
    step._reap(flushed.append, child)
    assert flushed == [child]
    assert channels.take(control.dispatcher) is None


def test_a_new_dispatcher_is_told_again_of_runs_that_have_just_ended_with_their_child(
    parent: tuple[DispatcherStep, Slots, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, slots, control = parent
    monkeypatch.setattr(step, "_fork", lambda *, is_first: None)
    monkeypatch.setattr(step, "_has_ended", lambda: True)
    step._pid = os.getpid()
    slots.begin(0, 1, 1, pid=11, soft_limit=60, hard_limit=60)
    step._tell_of_end(0, 11, 1)
    (told,) = iter(lambda: channels.take(control.dispatcher), None)
    step._restart_if_ended()
    assert list(iter(lambda: channels.take(control.dispatcher), None)) == [told]


# --- A child ----------------------------------------------------------------------------------------------------------


@on("push")
def count(event: Event) -> str:
    return "x" * int(event.payload["length"])


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[turn.Child, Pair, Slots]]:
    defaults = Defaults(queue="default", time_limit=30, max_attempts=2)
    subscriptions = discover([("shop", sys.modules[__name__])], defaults=defaults)
    monkeypatch.setattr(turn, "has_had_enough", lambda: False)
    pair, slots = Pair(), Slots(1)
    child = turn.Child(0, pair.child, slots, subscriptions)
    yield child, pair, slots
    pair.close()


def give(pk: int = 1, *, pid: int = os.getpid(), length: int = 1, begins_by: float = float("inf")) -> Give:
    return Give(claimed_job(pk=pk, body=f'{{"length": {length}}}'.encode()), 0, pid, begins_by)


def test_a_child_does_not_begin_a_job_whose_lease_might_end_first(child: tuple[turn.Child, Pair, Slots]) -> None:
    it, pair, _ = child
    channels.send(pair.dispatcher, give(1, begins_by=0.0))
    channels.send(pair.dispatcher, Leave(os.getpid()))
    it.take_jobs("default")
    assert [type(message) for message in said_by(pair)] == [Entered, Declined]


def test_a_child_tells_a_new_dispatcher_all_that_it_knows_before_it_says_that_it_is_there(
    child: tuple[turn.Child, Pair, Slots],
) -> None:
    it, pair, _ = child
    for message in (give(1), give(2), Hello(), Leave(os.getpid())):
        channels.send(pair.dispatcher, message)
    it.take_jobs("default")
    kinds = [type(message) for message in said_by(pair)]
    assert kinds == [Entered, RunEnded, RunEnded, RunEnded, RunEnded, Entered]


def said_by(pair: Pair) -> list[Any]:
    return list(iter(lambda: channels.take(pair.dispatcher), None))


def test_a_child_does_nothing_that_was_said_to_the_child_before_it(child: tuple[turn.Child, Pair, Slots]) -> None:
    it, pair, _ = child
    other, own = os.getpid() + 1, os.getpid()
    channels.send(pair.dispatcher, give(1, pid=other))
    channels.send(pair.dispatcher, Leave(other))
    channels.send(pair.dispatcher, give(2, pid=own))
    channels.send(pair.dispatcher, Leave(own))
    assert it.take_jobs("default") == "1 jobs"
    assert [message.job_id for message in said_by(pair) if isinstance(message, RunEnded)] == [2]


def test_a_child_whose_own_code_fails_ends_since_the_dispatcher_would_wait_for_it(
    child: tuple[turn.Child, Pair, Slots], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, pair, slots = child
    retired: list[bool] = []

    def run_out_of_memory(*_arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(turn, "retire", lambda: retired.append(True))
    monkeypatch.setattr(turn, "run_handler", run_out_of_memory)
    channels.send(pair.dispatcher, give())
    with pytest.raises(MemoryError):
        it.take_jobs("default")
    assert retired == [True]
    running = slots.read(0)
    assert running
    assert running.job_id == 1  # So the end of the process is recorded as that of this run.


# --- The inbox --------------------------------------------------------------------------------------------------------


class AtOnce:
    """In place of the committer: no thread, no wait."""

    reason = ""

    def run(self, work: Callable[[], Any]) -> Any:
        return work()


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.setattr(exchange, "Committer", lambda **_options: AtOnce())
    monkeypatch.setattr(exchange, "start_thread", lambda _name, _work: None)
    return Exchange(worker=WORKER, answered=lambda: None)


@pytest.mark.parametrize("error", [IntegrityError("no"), TypeError("no"), OverflowError("no")])
def test_an_outcome_that_cannot_be_recorded_at_all_costs_no_other_its_record(
    inbox: Exchange, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def record(ended: Sequence[Ended], wanted: object) -> tuple[list[JobState | None], list[ClaimedJob]]:
        if any(one.job.pk == 2 for one in ended):
            raise error
        return [JobState.SUCCEEDED] * len(ended), []

    monkeypatch.setattr(transitions, "exchange", record)
    answer = inbox._answer(Request(ended=[ended_run(claimed_job(pk=pk), number=pk) for pk in (1, 2, 3)]))
    assert not answer.has_failed
    assert answer.states == [JobState.SUCCEEDED, None, JobState.SUCCEEDED]
    known: list[object] = []
    monkeypatch.setattr(transitions, "release_unknown", lambda _worker, claims: known.append(claims))
    inbox._answer(Request(known={(4, 1)}))
    assert known == [{(2, 1), (4, 1)}], "Its lease will end; given back, it would run again for nothing."


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_a_job_whose_begin_is_noted_and_that_did_not_begin_can_be_given_back_at_a_stop() -> None:
    job = make_job(JobState.QUEUED, attempt=1, lost=1)
    claimed = transitions.claim(job.pk, worker=WORKER, lease_seconds=60, handler=job.handler)
    assert claimed
    assert transitions.begin(claimed)
    assert transitions.release([claimed]) == 1
    job.refresh_from_db()
    assert (job.state, job.started_at, spent(job), job.lost) == (JobState.QUEUED, None, 0, 1)
