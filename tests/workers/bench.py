"""A dispatcher in the test's own process: its children, its parent and its inbox are the test."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.claimed_jobs import DONE
from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.states import JobState
from workers.dispatcher import ended_children, process
from workers.dispatcher.exchange import Answer, Request
from workers.dispatcher.process import Dispatcher
from workers.dispatcher.queues import Queues
from workers.dispatcher.reports import Reports
from workers.runs import channels
from workers.runs.channels import Pair
from workers.runs.messages import ChildEnded, Entered, Give, RunEnded
from workers.runs.slots import Slots

WORKER = "worker-1@host"


class StandInInbox:
    """Takes what is asked of the inbox, and answers when the test says so."""

    def __init__(self, **_options: Any) -> None:
        self.asked: list[Request] = []
        self.answers: SimpleQueue[Answer] = SimpleQueue()

    def ask(self, request: Request) -> None:
        self.asked.append(request)


@dataclass
class Bench:
    """A dispatcher with the ends of its children, and of its parent."""

    slots: Slots
    pairs: Sequence[Pair]
    control: Pair
    inbox: StandInInbox
    dispatcher: Dispatcher
    given: dict[int, list[Any]] = field(default_factory=dict)

    def go_on(self) -> None:
        self.dispatcher._ask_at = 0.0  # Whenever it would ask: the tests have no time.
        self.dispatcher.go_on(0.0)

    def enter(self, place: int, pid: int) -> None:
        self.slots.enter(place)
        channels.send(self.pairs[place].child, Entered(pid, "default"))

    def answer(self, *claimed: ClaimedJob) -> Request:
        """Answer what was asked last: all is recorded, and these are claimed."""
        request = self.inbox.asked[-1]
        states = [JobState.SUCCEEDED] * len(request.ended)
        self.inbox.answers.put(Answer(request, states, claimed, request.begins))
        self.go_on()
        return request

    def begin(self, place: int, job: ClaimedJob, *, pid: int) -> None:
        """The child in this place reads a job and begins its run."""
        message = channels.take(self.pairs[place].child)
        assert isinstance(message, Give)
        assert message.job == job
        self.slots.begin(place, job.pk, job.attempt, pid=pid, soft_limit=60, hard_limit=60)

    def end_run(self, place: int, job: ClaimedJob, *, pid: int, number: int = 1, again: bool = False) -> None:
        """The child in this place says how a run has ended; or says it again, to a new dispatcher."""
        message = RunEnded(number, job.pk, job.attempt, job if again else None, DONE, pid, 0.0, 0.0, is_last=False)
        channels.send(self.pairs[place].child, message)
        self.slots.end(place)

    def end_child(self, place: int, pid: int, *, exit_code: int = -signal.SIGKILL) -> None:
        """The parent says that a child has ended."""
        running = self.slots.read(place)
        self.slots.end(place)
        self.slots.leave(place)
        channels.send(self.control.child, ChildEnded(place, pid, exit_code, running, False))

    def said_to(self, place: int) -> list[Any]:
        """Read all that the child in this place has been told."""
        return list(iter(lambda: channels.take(self.pairs[place].child), None))


@contextmanager
def benches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Give what makes a bench with so many places. All are cleared away at the end."""
    monkeypatch.setattr(process, "Exchange", StandInInbox)
    monkeypatch.setattr(ended_children, "SETTLE_SECONDS", 0.0)
    before = signal.getsignal(signal.SIGTERM)
    benches: list[Bench] = []

    def make(places: int, *, after: Bench | None = None) -> Bench:
        """Make a dispatcher; after another, which has ended, it has what that one has left."""
        slots = after.slots if after else Slots(places)
        pairs = after.pairs if after else [Pair() for _ in range(places)]
        control = after.control if after else Pair()
        for end in (control.dispatcher, control.child):
            end.setblocking(False)
        dispatcher = Dispatcher(
            worker=WORKER,
            slots=slots,
            pairs=pairs,
            control=control.dispatcher,
            queues=Queues(lambda: ("default",)),
            leases=lambda: {"shop.count": 60.0},
            reports=Reports(CollectorRegistry(), None),
            beat=lambda: None,
            is_first=after is None,
        )
        inbox = dispatcher._exchange
        assert isinstance(inbox, StandInInbox)
        benches.append(Bench(slots, pairs, control, inbox, dispatcher))
        return benches[-1]

    yield make
    signal.signal(signal.SIGTERM, before)
    for bench in benches:
        for pair in [*bench.pairs, bench.control]:
            pair.close()
