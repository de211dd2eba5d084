"""Pulls deliveries one after another: each is stored, and if that is wanted its handlers run before the next one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from webhooks.inbox.foreground import Ran, run_job
from webhooks.models import Job
from webhooks.pulling.remote import Handed, Part
from webhooks.pulling.taking_in import UnreadableError, pulled_delivery, queue_again, stored_as, take_in
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

WORKER = "pull"
"""As which worker the runs stand in the inbox."""


@dataclass(frozen=True, slots=True)
class HandlerRun:
    """One handler's run; None if another process has the job, or the handler is not installed."""

    handler: str
    ran: Ran | None


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one delivery. `number` is its number here; without one, `refused` says why it was not stored."""

    handed: Handed
    number: int | None = None
    refused: str = ""
    is_old: bool = False
    """Whether it was stored here before, so that nothing was done."""
    jobs: int = 0
    runs: list[HandlerRun] = field(default_factory=list)


@dataclass(slots=True)
class Unseen:
    """What may belong to a pull request, and was not handed out."""

    pruned: int = 0
    unreadable: int = 0
    too_large: int = 0
    since: str = ""
    is_cut: bool = False
    """Whether there was more than was to be pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How deliveries are to be taken in. `source_for` gives the source here of one there."""

    host: str
    who: str
    source_for: Callable[[str], str]
    runs: bool
    again: bool
    most: int


def pull(parts: Iterable[Part], wanted: Wanted, unseen: Unseen) -> Iterator[Pulled]:
    """Take deliveries in, one for each that is yielded; note in `unseen` what was not handed out."""
    count = 0
    for part in parts:
        unseen.pruned += part.pruned
        unseen.unreadable += part.unreadable
        unseen.too_large += part.too_large
        unseen.since = unseen.since or part.since
        for handed in part.deliveries:
            if count >= wanted.most:
                unseen.is_cut = True
                return
            count += 1
            yield _one(handed, wanted)


def _one(handed: Handed, wanted: Wanted) -> Pulled:
    if handed.body is None:
        return Pulled(handed, refused=handed.gone or "Its payload is gone.")
    source = wanted.source_for(handed.source)
    try:
        new = pulled_delivery(handed, handed.body, source=source)
    except UnreadableError as error:
        return Pulled(handed, refused=str(error))
    number = stored_as(new)
    if number is not None and not wanted.again:
        return Pulled(handed, number, is_old=True)
    stored = take_in(new, handed, host=wanted.host, who=wanted.who)
    number = stored.delivery_id if stored else queue_again(new, who=wanted.who)
    waiting = Job.objects.filter(delivery_id=number, state=JobState.QUEUED).order_by("pk")
    jobs = list(waiting.values_list("pk", "handler"))
    return Pulled(handed, number, jobs=len(jobs), runs=[_run(*job) for job in jobs] if wanted.runs else [])


def _run(job_id: int, handler: str) -> HandlerRun:
    subscription = installed_subscriptions().get(handler)
    return HandlerRun(handler, run_job(job_id, subscription, worker=WORKER) if subscription else None)
