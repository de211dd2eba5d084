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
from webhooks.inbox import due, pauses, transitions
from webhooks.inbox import store as inbox
from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.new_delivery import Stored
from webhooks.inbox.outcomes import Outcome
from webhooks.inbox.transitions import Ended
from webhooks.models import Attempt, Delivery, Job, Pause, Payload
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.subscription import Backoff, Subscription

WORKER = "worker@test"
LEASES = {"app.first": 75.0, "app.also": 95.0, "app.second": 75.0}
LEASE_SECONDS = max(LEASES.values())
QUEUES = ("first", "second")
HANDLERS = tuple(
    Subscription(
        name=name,
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
    for name, queue, max_attempts in (("app.first", "first", 3), ("app.also", "first", 2), ("app.second", "second", 1))
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
    runs: list[ClaimedJob] = field(default_factory=list)
    """What it has claimed, once it was taken."""
    wanted: Wanted | None = None
    """What it claims besides."""

    def promised(
        self, world: World, at: datetime, *, seen: World | None = None, without: Collection[int] = ()
    ) -> tuple[World, int]:
        """Return the world after the step, and how many jobs it changed.

        Claimed is what was there to be claimed when the step began, in the world `seen`, and still is.
        """
        mine = self.jobs if self.wanted else self.jobs.difference(without)
        claims = [pk for pk in self._claims(seen or world, at, without) if world[pk].can_be_claimed(at)]
        after = {pk: self.promise(job, at) if pk in mine else job for pk, job in world.items()}
        for pk in claims:
            after[pk] = world[pk].claimed(at, lease_seconds=LEASES[world[pk].handler])
        return after, sum(after[pk] != job for pk, job in world.items())

    def _claims(self, world: World, at: datetime, without: Collection[int]) -> list[int]:
        wanted = self.wanted
        if wanted is None:
            return []
        due = [
            (job.publish.earliest, pk)
            for pk, job in world.items()
            if pk not in without and job.publish is not None and job.can_be_claimed(at)
            if (job.queue == wanted.queue or pk == wanted.job_id) and job.handler in wanted.leases
        ]
        return [pk for _, pk in sorted(due)[: wanted.limit]]


def possibilities(world: World, steps: Sequence[Step], at: datetime) -> Iterator[tuple[World, list[int]]]:
    """Yield each world that may be there after the steps, taken side by side, with their answers."""
    for order in permutations(range(len(steps))):
        for sees_the_first in (True, False) if len(steps) > 1 else (True,):
            after, answers = world, [0] * len(steps)
            for place in order:
                after, answers[place] = steps[place].promised(after, at, seen=after if sees_the_first else world)
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


def claiming(pk: int, handler: str) -> Step:
    """Return the claim of one job."""
    return exchanging(Wanted(worker=WORKER, leases={handler: LEASES[handler]}, job_id=pk))


def claiming_of(queue: str, *, limit: int, handlers: Collection[str] = tuple(LEASES)) -> Step:
    """Return the claim of a queue's jobs, by a worker that has these handlers."""
    leases = {handler: LEASES[handler] for handler in handlers}
    return exchanging(Wanted(worker=WORKER, leases=leases, limit=limit, queue=queue))


def exchanging(wanted: Wanted | None, *ends: tuple[ClaimedJob, Ending]) -> Step:
    """Return a record of runs, and a claim, in one exchange."""
    claimed: list[ClaimedJob] = []
    endings = {run.pk: (run.attempt, ending) for run, ending in ends}

    def exchange() -> int:
        states, jobs = transitions.exchange([end_of(run, ending) for run, ending in ends], wanted)
        claimed.extend(jobs)
        return sum(state is not None for state in states) + len(jobs)

    def promise(job: JobModel, at: datetime) -> JobModel:
        attempt, ending = endings[job.pk]
        return job.ended(at, ending) if job.may_record(attempt) else job

    # One who claims passes over what another has in hand, so that beside another step it may claim less.
    return Step(
        act=exchange, promise=promise, jobs=frozenset(endings), passes_over=wanted is not None,
        has_one_winner=wanted is None or wanted.queue is None, runs=claimed, wanted=wanted,
    )  # fmt: skip


def recording(run: ClaimedJob, ending: Ending) -> Step:
    return exchanging(None, (run, ending))


def end_of(run: ClaimedJob | Job, ending: Ending) -> Ended:
    age: timedelta = Job.objects.values_list(Now() - F("budget_from_at"), flat=True).get(pk=run.pk)
    return Ended(
        job=run, outcome=outcome_of(ending), backoff=Backoff(first=ending.first_seconds),
        age_seconds=age.total_seconds(), worker=WORKER, pid=7,
    )  # fmt: skip


def ending_process(run: ClaimedJob, ending: Ending) -> Step:
    """Return the end of a run's process, of which only job and attempt are known."""

    def record() -> int:
        found = transitions.running(run.pk, run.attempt)
        return int(found is not None and transitions.record(end_of(found[0], ending)) is not None)

    def promise(job: JobModel, at: datetime) -> JobModel:
        return job.ended(at, ending) if job.may_record(run.attempt) else job

    return Step(act=record, promise=promise, jobs=frozenset({run.pk}), has_one_winner=True)


def beginning(run: ClaimedJob, _ending: Ending) -> Step:
    return Step(
        act=lambda: int(transitions.begin(run)),
        promise=lambda job, _at: job.begins(run.attempt),
        jobs=frozenset({run.pk}),
        has_one_winner=True,
    )


def giving_back(run: ClaimedJob, _ending: Ending) -> Step:
    return Step(
        act=lambda: transitions.release([run]),
        promise=lambda job, _at: job.given_back(run.attempt),
        jobs=frozenset({run.pk}),
        has_one_winner=True,
    )


def giving_back_unknown(known: Collection[tuple[int, int]], pks: Collection[int]) -> Step:
    def promise(job: JobModel, _at: datetime) -> JobModel:
        return job if job.begun or (job.pk, job.attempt) in known else job.given_back(job.attempt)

    return Step(act=lambda: transitions.release_unknown(WORKER, known), promise=promise, jobs=frozenset(pks))


def outcome_of(ending: Ending) -> Outcome:
    return Outcome(kind=AttemptOutcome(ending.outcome), message="why", after_seconds=ending.after_seconds)


# --- The relay --------------------------------------------------------------------------------------------------------


def expiring(pks: Collection[int]) -> Step:
    return Step(
        act=transitions.expire_leases,
        promise=lambda job, at: job.expired(at),
        jobs=frozenset(pks),
        passes_over=True,
    )


def moving(pk: int, queue: str) -> Step:
    return Step(
        act=lambda: due.move([pk], queue=queue),
        promise=lambda job, _at: job.moved(queue=queue),
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


def retrying_now(pk: int) -> Step:
    def retry() -> None:
        transitions.retry_now(Job.objects.filter(pk=pk))  # It counts those too that are due already.

    return Step(act=retry, promise=lambda job, at: job.retried_now(at), jobs=frozenset({pk}))


def pausing(name: str, pks: Collection[int]) -> Step:
    """Return the pause of a queue or a handler."""

    def pause() -> None:
        pauses.pause(**_scope(name), reason="why", who="ana")

    return Step(act=pause, promise=lambda job, _at: job.paused(name), jobs=frozenset(pks))


def resuming(name: str, pks: Collection[int]) -> Step:
    def resume() -> None:
        pauses.resume(**_scope(name), who="ana")

    return Step(act=resume, promise=lambda job, _at: job.resumed(name), jobs=frozenset(pks))


def _scope(name: str) -> dict[str, str]:
    return {"queue" if name in QUEUES else "handler": name}


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
    for model in (Attempt, Job, Payload, Delivery, Pause):
        model.objects.all().delete()


def let_pass(seconds: float) -> None:
    """Set every moment that counts back, as if so much time had passed."""
    passed = timedelta(seconds=seconds)
    moments = ("created_at", "budget_from_at", "due_at", "publish_at", "claimed_at", "started_at", "lease_until")
    Job.objects.update(**{name: F(name) - passed for name in moments})
