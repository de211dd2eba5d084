"""The steps of a job's life as they are really taken, beside what the model promises of each."""

import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from tests.fuzz.job_model import Ending, JobModel
from tests.support.inbox_rows import new_delivery
from webhooks.inbox import due, transitions
from webhooks.inbox import store as inbox
from webhooks.inbox.new_delivery import Stored
from webhooks.inbox.outcomes import Outcome
from webhooks.inbox.transitions import ClaimedJob
from webhooks.models import Attempt, Delivery, Job, Payload
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.subscription import Backoff, Subscription

WORKER = "worker@test"
LEASE_SECONDS = 75.0
QUEUES = ("first", "second")
HANDLERS = tuple(
    Subscription(
        name=f"app.{queue}",
        handler=lambda _event: None,
        events=frozenset({"push"}),
        actions=None,
        where={},
        queue=queue,
        time_limit=60,
        soft_time_limit=50,
        max_attempts=max_attempts,
        backoff=Backoff(),
        takes_run=False,
    )
    for queue, max_attempts in zip(QUEUES, (3, 1), strict=True)
)

World = Mapping[int, JobModel]
"""The model of each job, by its id."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What takes it, which returns how many jobs it changed or None; and what each of its jobs is then."""

    act: Callable[[], int | None]
    promise: Callable[[JobModel, datetime], JobModel]
    jobs: frozenset[int]
    passes_over: bool = False
    """Whether it leaves for later what another has in hand."""
    has_one_winner: bool = False
    """Whether its answer counts even while another step is taken beside it."""
    runs: list["Run"] = field(default_factory=list)
    """What it has claimed, once it was taken."""
    taken: list[int] | None = None
    """The jobs that it has taken for the broker."""

    def promised(self, world: World, at: datetime, *, without: Collection[int] = ()) -> tuple[World, int]:
        """Return the world after the step, and how many jobs it changed."""
        mine = self.jobs.difference(without)
        after = {pk: self.promise(job, at) if pk in mine else job for pk, job in world.items()}
        return after, sum(after[pk] != job for pk, job in world.items())


@dataclass(frozen=True)
class Run:
    """A claimed job as its process has it."""

    job: ClaimedJob
    pid: int


def possibilities(world: World, steps: Sequence[Step], at: datetime) -> Iterator[tuple[World, list[int]]]:
    """Yield each world that may be there after the steps, taken side by side, with their answers."""
    for order in permutations(range(len(steps))):
        after, answers = world, [0] * len(steps)
        for place in order:
            after, answers[place] = steps[place].promised(after, at)
        yield after, answers
        for place in (place for place in order if steps[place].passes_over and len(steps) > 1):
            other = 1 - place
            after, answers[other] = steps[other].promised(world, at)
            after, answers[place] = steps[place].promised(after, at, without=steps[other].jobs)
            yield after, answers


def side_by_side(acts: Sequence[Callable[[], Any]]) -> list[Any]:
    """Take one step, or several at once, each on a thread and a connection of its own; return what they returned."""
    if len(acts) == 1:
        return [acts[0]()]
    results: dict[int, Any] = {}
    barrier = threading.Barrier(len(acts))

    def run(place: int) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(30)
            results[place] = acts[place]()
        except Exception as error:
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[place]) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results.values():
        if isinstance(result, Exception):
            raise result
    return [results[place] for place in range(len(acts))]


# --- Workers ----------------------------------------------------------------------------------------------------------


def claiming(pk: int, *, pid: int) -> Step:
    runs: list[Run] = []

    def claim() -> int:
        job = transitions.claim(pk, worker=WORKER, pid=pid, lease_seconds=LEASE_SECONDS)
        runs.extend([Run(job, pid)] if job else [])
        return len(runs)

    def promise(job: JobModel, at: datetime) -> JobModel:
        return job.claimed(at, pid=pid, lease_seconds=LEASE_SECONDS)

    return Step(act=claim, promise=promise, jobs=frozenset({pk}), has_one_winner=True, runs=runs)


def recording(run: Run, ending: Ending) -> Step:
    def record() -> int:
        age = Job.objects.values_list(Now() - F("budget_from_at"), flat=True).get(pk=run.job.pk)
        backoff = Backoff(first=ending.first_seconds)
        state = transitions.record(run.job, outcome_of(ending), age_seconds=age.total_seconds(), backoff=backoff)
        return int(state is not None)

    def promise(job: JobModel, at: datetime) -> JobModel:
        return job.ended(at, ending) if job.may_record(run.job.attempt) else job

    return Step(act=record, promise=promise, jobs=frozenset({run.job.pk}), has_one_winner=True)


def ending_process(run: Run, ending: Ending) -> Step:
    """Return the end of a run's process, which another process records."""

    def record() -> int:
        backoff = Backoff(first=ending.first_seconds)
        state = transitions.record_ended_process(
            run.job.pk, outcome_of(ending), worker=WORKER, pid=run.pid, backoff=backoff
        )
        return int(state is not None)

    def promise(job: JobModel, at: datetime) -> JobModel:
        return job.ended(at, ending) if job.runs_in(run.pid) else job

    return Step(act=record, promise=promise, jobs=frozenset({run.job.pk}), has_one_winner=True)


def outcome_of(ending: Ending) -> Outcome:
    return Outcome(kind=AttemptOutcome(ending.outcome), message="why", after_seconds=ending.after_seconds)


# --- The relay --------------------------------------------------------------------------------------------------------


def expiring(pks: Collection[int]) -> Step:
    def promise(job: JobModel, at: datetime) -> JobModel:
        return job.ended(at, Ending(outcome="lost")) if job.is_overdue(at) else job

    return Step(act=transitions.expire_leases, promise=promise, jobs=frozenset(pks), passes_over=True)


def publishing(queue: str, pks: Collection[int]) -> Step:
    taken: list[int] = []

    def take() -> int:
        taken.extend(job.pk for job in due.take_due(queue, limit=100))
        return len(taken)

    def promise(job: JobModel, at: datetime) -> JobModel:
        return job.published(at) if job.queue == queue and job.is_to_be_published(at) else job

    return Step(act=take, promise=promise, jobs=frozenset(pks), passes_over=True, taken=taken)


def putting_back(pks: Collection[int]) -> Step:
    return Step(act=lambda: due.put_back(list(pks)), promise=lambda job, _at: job.put_back(), jobs=frozenset(pks))


def moving(pk: int, queue: str) -> Step:
    return Step(
        act=lambda: due.move([pk], queue=queue),
        promise=lambda job, at: job.moved(at, queue=queue),
        jobs=frozenset({pk}),
    )


def burying(pk: int) -> Step:
    return Step(
        act=lambda: transitions.end_without_run([pk], reason="No installed app has it."),
        promise=lambda job, _at: job.buried(),
        jobs=frozenset({pk}),
    )


# --- Operators, and GitHub --------------------------------------------------------------------------------------------


def running_again(pk: int) -> Step:
    return Step(
        act=lambda: transitions.run_again(Job.objects.filter(pk=pk)),
        promise=lambda job, at: job.run_again(at),
        jobs=frozenset({pk}),
    )


def giving_up(pk: int) -> Step:
    return Step(
        act=lambda: transitions.give_up(Job.objects.filter(pk=pk)),
        promise=lambda job, _at: job.given_up(),
        jobs=frozenset({pk}),
    )


def redelivering(guid: int, pks: Collection[int]) -> Step:
    def redeliver() -> None:
        stored = store(guid)
        assert (stored.is_duplicate, stored.job_count) == (True, len(HANDLERS))

    return Step(act=redeliver, promise=lambda job, at: job.redelivered(at), jobs=frozenset(pks))


def store(guid: int) -> Stored:
    return inbox.store(new_delivery(hook_id=7, guid=uuid.UUID(int=guid), headers={}, subscriptions=HANDLERS))


# --- The inbox --------------------------------------------------------------------------------------------------------


def empty_inbox() -> None:
    for model in (Attempt, Job, Payload, Delivery):
        model.objects.all().delete()


def let_pass(seconds: float) -> None:
    """Set every moment that counts back, as if so much time had passed."""
    passed = timedelta(seconds=seconds)
    moments = ("created_at", "budget_from_at", "due_at", "publish_at", "lease_until")
    Job.objects.update(**{name: F(name) - passed for name in moments})
