"""The dispatcher's conversation with the inbox: outcomes there, jobs back, one exchange at a time, on one thread.

The committer bounds how long an exchange takes, also where the database is up but silent. An exchange that fails may
have been committed all the same: then claims of ours are in the inbox that nobody here knows of. So the claims that the
inbox shows under this worker's name are compared with those that are known, after each failure and at the start, and
the others are given back.
"""

import logging
import queue
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from webhooks.inbox import api_limits, database, transitions
from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.committer import Committer, InboxUnavailableError
from webhooks.inbox.job_log import job_fields
from webhooks.inbox.outcomes import Outcome, failure_fingerprint
from webhooks.inbox.transitions import Ended
from webhooks.models import Job
from webhooks.outage_log import OutageLog
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Backoff
from webhooks.threads import place_of, start_thread
from workers.dispatcher.api_use import Limits
from workers.dispatcher.desk import EndedRun
from workers.dispatcher.ended_children import CutOff
from workers.runs.messages import RunEnded

T = TypeVar("T")
logger = logging.getLogger(__name__)

Claim = tuple[int, int]
"""A job and its attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of the inbox."""

    ended: Sequence[EndedRun] = ()
    cut_off: Sequence[CutOff] = ()
    wanted: Wanted | None = None
    given_back: Sequence[ClaimedJob] = ()
    begins: Sequence[ClaimedJob] = ()
    """Jobs that are about to begin and were lost before."""
    known: Collection[Claim] | None = None
    """Every claim that is known here, if the inbox is to be compared with it."""

    @property
    def is_empty(self) -> bool:
        return not self.ended and self.only_records

    @property
    def only_records(self) -> bool:
        """Whether it asks for nothing but to record outcomes, if for that."""
        return self.known is None and not any((self.cut_off, self.wanted, self.given_back, self.begins))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request."""

    request: Request
    states: Sequence[JobState | None] = ()
    """Of each outcome, the job's new state; None if its attempt was no longer current."""
    claimed: Sequence[ClaimedJob] = ()
    begun: Sequence[ClaimedJob] = ()
    """Those of the jobs about to begin that may."""
    cut_off: Sequence[tuple[CutOff, ClaimedJob | Job, JobState | None]] = ()
    """Those of the cut-off runs that had not been recorded, each with its job and the job's new state."""
    has_failed: bool = False
    is_in_doubt: bool = False
    """Whether something may have been committed of which the answer was lost."""
    seconds: float = 0.0
    """How long it took."""


class Exchange:
    """A thread that answers requests in turn. `answered` is called on it, after each answer is put."""

    def __init__(self, *, worker: str, answered: Callable[[], None]) -> None:
        self._worker = worker
        self._answered = answered
        self._committer = Committer(threads=1)
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._was_repeated = False
        """Whether a transaction of this request was tried on a second connection: the first may have been committed."""
        self._left: set[Claim] = set()
        """Runs that are left to their leases: they have begun, and are not to be given back."""
        self._limits = Limits()
        self._outages = OutageLog(logger, "no jobs are claimed and no outcomes recorded")
        self._refusals = OutageLog(logger, "refused by the database", level=logging.ERROR)
        start_thread("exchange", self._run)

    def ask(self, request: Request) -> None:
        self._requests.put(request)

    def _run(self) -> None:
        while True:
            request = self._requests.get()
            began_at = time.monotonic()
            answer = self._answer(request)
            self.answers.put(replace(answer, seconds=time.monotonic() - began_at))
            self._answered()

    def _answer(self, request: Request) -> Answer:
        """Do what is asked, in steps of a transaction each; what was done before one fails may be done again.

        A step that the database refuses, and not only at present, is not tried again: the leases of its claims end.
        """
        self._was_repeated = False
        cut_off: list[tuple[CutOff, ClaimedJob | Job, JobState | None]] = []
        try:
            if request.known is not None:
                self._run_in(partial(transitions.release_unknown, self._worker, {*request.known, *self._left}))
            if request.given_back:
                self._run_in(partial(transitions.release, request.given_back))
            begun = [job for job in request.begins if self._run_in(partial(transitions.begin, job))]
            for run in request.cut_off:
                if ended := self._run_in(partial(ended_of, run, self._worker)):
                    cut_off.append((run, ended.job, self._record(ended)))
            if seen := self._limits.to_note(request.ended, now=time.monotonic()):
                self._run_in(partial(api_limits.note, seen))  # First: the claim that follows keeps to it.
            states, claimed = self._exchange([_said(run, self._worker) for run in request.ended], request.wanted)
        except InboxUnavailableError:
            self._outages.failed(f"the database {self._committer.reason or 'refuses'}")
            return Answer(request, cut_off=cut_off, has_failed=True, is_in_doubt=True)
        return Answer(request, states, claimed, begun, cut_off, is_in_doubt=self._was_repeated)

    def _exchange(
        self, ended: Sequence[Ended], wanted: Wanted | None
    ) -> tuple[Sequence[JobState | None], Sequence[ClaimedJob]]:
        if not ended and wanted is None:
            return (), ()
        answer = self._run_in(partial(transitions.exchange, ended, wanted))
        if answer is not None:
            return answer
        if not ended:
            raise InboxUnavailableError  # The claim itself is refused, and will be: a pause comes before the next.
        # Of one row, perhaps. Each is recorded by itself, so that it costs no other; and nothing is claimed this time.
        return [self._record(one) for one in ended], ()

    def _record(self, ended: Ended) -> JobState | None:
        """Record one run: with its outcome, or only that it has failed. If even that is refused, its lease ends."""
        bare = Outcome(kind=AttemptOutcome.FAILED, message="The database refuses to store the outcome.")
        for one in (ended, replace(ended, outcome=bare)):
            answer = self._run_in(partial(transitions.exchange, [one], None))
            if answer is not None:
                return answer[0][0]
        self._left.add((ended.job.pk, ended.job.attempt))
        logger.error("run left to its lease", extra=job_fields(ended.job))
        return None

    def _run_in(self, work: Callable[[], T]) -> T | None:
        """Run a transaction; return None if the database refuses what it is given, and not only at present."""
        tries = 0

        def counted() -> T | None:
            nonlocal tries
            tries += 1
            try:
                return work()
            except Exception as error:
                # Whatever it is: raised, it would end this process, and the next one would be given the same again.
                if database.is_outage(error):
                    raise
                # Without the error's text, since it shows values of the row.
                self._refusals.failed(place_of(error))
                return None

        try:
            return self._committer.run(counted)
        finally:
            self._was_repeated |= tries > 1


def ended_of(run: CutOff, worker: str) -> Ended | None:
    """Return how a run whose process has ended is to be recorded; None if it was recorded already."""
    found = transitions.running(run.job_id, run.attempt)
    if found is None:
        return None
    job, age = found
    fingerprint = failure_fingerprint(job.handler, run.kind.value, run.reason)
    outcome = Outcome(kind=run.kind, message=run.reason, fingerprint=fingerprint)
    return _ended(job, outcome, age, run, worker)


def _said(run: EndedRun, worker: str) -> Ended:
    """Return how a run whose child has said how it ended is to be recorded."""
    job, message = run.job, run.message
    age = job.claimed_at - job.budget_from_at + timedelta(seconds=time.monotonic() - message.began_at)
    return _ended(job, message.outcome, age, message, worker)


def _ended(job: ClaimedJob | Job, outcome: Outcome, age: timedelta, run: CutOff | RunEnded, worker: str) -> Ended:
    now = time.monotonic()
    subscription = installed_subscriptions().get(job.handler)
    return Ended(
        job=job,
        outcome=outcome,
        backoff=subscription.backoff if subscription else Backoff(),
        age_seconds=age.total_seconds(),
        worker=worker,
        pid=run.pid,
        began_seconds_ago=now - run.began_at,
        ended_seconds_ago=now - run.ended_at,
    )
