"""What an attempt's outcome means for its job: the next state and when. Values in, values out; no I/O.

Attempts since the budget began count against `max_attempts` (`spent`), except those that were forgiven or lost:

- a hand-back (a planned stop, `RetryLater`) is forgiven, at most ten times, and only while the job is younger than its
  total age, which begins with the budget's first claim;
- a run that a rate limit of GitHub's has put off is forgiven however often, while the job is young enough: the handler
  does not choose that, and each time the job waits until the limit begins anew, so that nothing loops;
- a run that is lost with its worker is most likely not the cause, so lost runs have a larger limit of their own;
- a run whose own process ended, while the other processes of its worker went on, counts like a run that raised.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Protocol

from webhooks.github_api.budget import Seen
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.subscription import Backoff

MOST_FORGIVEN = 10
LOST_ALLOWANCE = 10
"""How many runs more than `max_attempts` may be lost with their workers."""
LOST_BACKOFF = Backoff(first=2.0, longest=60.0)
LONGEST_DELAY_SECONDS = timedelta(days=30).total_seconds()
LONGEST_TEXT = 500

HANDS_BACK = frozenset({AttemptOutcome.RETRY_LATER, AttemptOutcome.HANDED_BACK})


class Outcome(NamedTuple):
    """How an attempt ended. A tuple, since it goes from process to process."""

    kind: AttemptOutcome
    message: str = ""
    """The handler's result, or the error in one line."""
    traceback: str = ""
    fingerprint: str = ""
    after_seconds: float = 0.0
    """RetryLater's wait."""
    is_put_off: bool = False
    """Whether it is not the handler that asks to run later, but a rate limit of GitHub's."""
    api: Seen | None = None
    """What GitHub's answers said of the installation's rate limit; None if its API was not called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a running job has used of its budget. `age_seconds` counts from the budget's first claim."""

    attempt: int
    budget_from_attempt: int
    forgiven: int
    lost: int
    max_attempts: int
    age_seconds: float


class Counted(Protocol):
    """A job or a budget: both have these counts."""

    @property
    def attempt(self) -> int: ...
    @property
    def budget_from_attempt(self) -> int: ...
    @property
    def forgiven(self) -> int: ...
    @property
    def lost(self) -> int: ...


def spent(job: Counted) -> int:
    """Return how many attempts count against the job's `max_attempts`."""
    return job.attempt - job.budget_from_attempt - job.forgiven - job.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The job's next state, in how many seconds it is due, and which count rises."""

    state: JobState
    delay_seconds: float = 0.0
    forgives: bool = False
    loses: bool = False
    reason: str = ""
    """Why the job is dead, if the outcome's own message does not say it."""


def next_step(outcome: Outcome, budget: Budget, *, backoff: Backoff, max_age_seconds: float) -> Step:
    """Return what an attempt's outcome means for its job."""
    if outcome.kind is AttemptOutcome.SUCCEEDED:
        return Step(state=JobState.SUCCEEDED)
    if outcome.kind is AttemptOutcome.GAVE_UP:
        return Step(state=JobState.DEAD)
    if outcome.kind is AttemptOutcome.LOST:
        return _after_loss(budget)
    if outcome.kind in HANDS_BACK and _is_forgiven(outcome, budget, max_age_seconds=max_age_seconds):
        return Step(state=JobState.RETRYING, delay_seconds=_bounded(outcome.after_seconds), forgives=True)
    if spent(budget) >= budget.max_attempts:
        return Step(state=JobState.DEAD, reason=f"All {budget.max_attempts} attempts are spent.")
    wait = outcome.after_seconds if outcome.kind in HANDS_BACK else backoff.seconds(spent(budget))
    return Step(state=JobState.RETRYING, delay_seconds=_bounded(wait))


def _is_forgiven(outcome: Outcome, budget: Budget, *, max_age_seconds: float) -> bool:
    age_at_next_run = budget.age_seconds + outcome.after_seconds
    return (outcome.is_put_off or budget.forgiven < MOST_FORGIVEN) and age_at_next_run < max_age_seconds


def _after_loss(budget: Budget) -> Step:
    lost = budget.lost + 1
    most = budget.max_attempts + LOST_ALLOWANCE
    if lost >= most:
        return Step(state=JobState.DEAD, loses=True, reason=f"{lost} runs were lost with their workers.")
    return Step(state=JobState.RETRYING, delay_seconds=LOST_BACKOFF.seconds(lost), loses=True)


def _bounded(seconds: float) -> float:
    return min(seconds, LONGEST_DELAY_SECONDS)


def one_line(text: str) -> str:
    """Return `text` as fits a column: storable, and cut to LONGEST_TEXT characters."""
    cleaned = storable(text).strip()
    return cleaned if len(cleaned) <= LONGEST_TEXT else cleaned[: LONGEST_TEXT - 1] + "…"


def storable(text: str) -> str:
    """Return `text` without what PostgreSQL or UTF-8 refuses: NUL, and lone surrogates (undecodable bytes)."""
    text = text.replace("\0", "")
    return text if text.isascii() else text.encode(errors="replace").decode()


def failure_fingerprint(handler: str, error: str, place: str) -> str:
    """Return 16 hex digits that group failures: the same handler, error class and place in the code."""
    return hashlib.sha256("\0".join((handler, error, place)).encode()).hexdigest()[:16]
