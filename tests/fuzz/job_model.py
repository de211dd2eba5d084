"""What docs/handlers.md and docs/architecture.md promise of a job, in plain values: no database, no code of Hookline.

A model knows a moment as a `Span`, the earliest and the latest it may be; once the inbox has shown which it is, both
are the same. Each method returns what the job is afterwards, which is the job itself where nothing may happen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

FREE_HAND_BACKS = 10
FREE_FOR = timedelta(hours=24)
MORE_LOST_RUNS = 10
LONGEST_LOST_WAIT = timedelta(seconds=60)

WAITING = frozenset({"queued", "retrying"})
FINAL = frozenset({"succeeded", "dead", "skipped"})
HAND_BACKS = frozenset({"retry_later", "handed_back"})
RUNS = ""
"""The outcome of an attempt that has none yet."""
GIVEN_BACK = "given back"
"""That of an attempt that has not begun, and never will."""


class Span(NamedTuple):
    """Two moments between which one lies."""

    earliest: datetime
    latest: datetime

    def holds(self, moment: datetime | None) -> bool:
        return moment is not None and self.earliest <= moment <= self.latest


def between(earliest: datetime, *, seconds: float = 0.0) -> Span:
    return Span(earliest, earliest + timedelta(seconds=seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ends. `after_seconds` is RetryLater's wait, `first_seconds` that of the handler's backoff."""

    outcome: str
    after_seconds: float = 0.0
    first_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobModel:
    """A job as its promises have it. `outcomes` has one for each attempt."""

    pk: int
    guid: int
    handler: str
    queue: str
    max_attempts: int
    began: Span
    """The first claim of the budget; before it, when the budget was given."""
    due: Span
    publish: Span | None
    state: str = "queued"
    lease: Span | None = None
    outcomes: tuple[str, ...] = ()
    begun: int = 0
    """How often it was said that the current attempt begins."""
    spent: int = 0
    """How many runs that have ended count against `max_attempts`."""
    handed_back: int = 0
    """How many have come back free."""
    lost: int = 0
    held: frozenset[str] = frozenset()
    """The names of all queues and handlers that are paused, whether it is of them or not."""

    @property
    def attempt(self) -> int:
        return len(self.outcomes)

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    @property
    def rows(self) -> list[tuple[int, str]]:
        """The attempts that have ended, which are those with a row."""
        numbered = enumerate(self.outcomes, start=1)
        return [(number, outcome) for number, outcome in numbered if outcome not in (RUNS, GIVEN_BACK)]

    def is_due(self, at: datetime) -> bool:
        return self.publish is not None and self.publish.earliest <= at

    def can_be_claimed(self, at: datetime) -> bool:
        return self.is_due(at) and not self.held & {self.queue, self.handler}

    def is_overdue(self, at: datetime) -> bool:
        return self.is_running and self.lease is not None and self.lease.earliest < at

    # --- Runs ---------------------------------------------------------------------------------------------------------

    def claimed(self, at: datetime, *, lease_seconds: float) -> "JobModel":
        if not self.can_be_claimed(at):
            return self
        lease = between(at + timedelta(seconds=lease_seconds))
        outcomes = (*self.outcomes, RUNS)
        is_first = not self.spent + self.handed_back + self.lost
        taken = replace(self, began=between(at) if is_first else self.began, outcomes=outcomes, begun=0)
        return replace(taken, state="running", lease=lease, publish=None)

    def may_record(self, attempt: int) -> bool:
        return self.is_running and self.attempt == attempt

    def begins(self, attempt: int) -> "JobModel":
        return replace(self, begun=self.begun + 1) if self.may_record(attempt) else self

    def given_back(self, attempt: int) -> "JobModel":
        """End a claim of which its worker is sure that no run has begun: the job is where it was before it."""
        if not self.may_record(attempt):
            return self
        outcomes = (*self.outcomes[:-1], GIVEN_BACK)
        return replace(self, state="queued", outcomes=outcomes, lease=None, publish=self.due)

    def expired(self, at: datetime) -> "JobModel":
        """End a run whose lease is over: it is lost, unless its job was lost before and it had not begun."""
        if not self.is_overdue(at):
            return self
        return self.given_back(self.attempt) if self.lost and not self.begun else self.ended(at, Ending(outcome="lost"))

    def ended(self, at: datetime, ending: Ending) -> "JobModel":
        """End the current attempt."""
        ended = replace(self, outcomes=(*self.outcomes[:-1], ending.outcome), lease=None)
        due = between(at + timedelta(seconds=ending.after_seconds))
        if ending.outcome == "lost":
            return ended._after_loss(at)
        if ending.outcome in HAND_BACKS and self._may_come_back_free(due):
            return replace(ended, handed_back=self.handed_back + 1)._retrying(due)
        cost = replace(ended, spent=self.spent + 1)
        if ending.outcome == "succeeded":
            return cost._final("succeeded")
        if ending.outcome == "gave_up" or cost.spent >= self.max_attempts:
            return cost._final("dead")
        if ending.outcome in HAND_BACKS:
            return cost._retrying(due)
        return cost._retrying(between(at, seconds=ending.first_seconds * 2.0**self.spent))

    def _after_loss(self, at: datetime) -> "JobModel":
        lost = replace(self, lost=self.lost + 1)
        if lost.lost >= self.max_attempts + MORE_LOST_RUNS:
            return lost._final("dead")
        return lost._retrying(Span(at, at + LONGEST_LOST_WAIT))

    def _may_come_back_free(self, due: Span) -> bool:
        return self.handed_back < FREE_HAND_BACKS and due.earliest - self.began.earliest < FREE_FOR

    def _final(self, state: str) -> "JobModel":
        return replace(self, state=state, publish=None)

    def _retrying(self, due: Span) -> "JobModel":
        return replace(self, state="retrying", due=due, publish=due)

    # --- Operators and the relay --------------------------------------------------------------------------------------

    def run_again(self, at: datetime) -> "JobModel":
        if self.state not in FINAL:
            return self
        now = between(at)
        fresh = replace(self, began=now, spent=0, handed_back=0, lost=0)
        return replace(fresh, state="queued", due=now, publish=now)

    def retried_now(self, at: datetime) -> "JobModel":
        if self.state != "retrying" or self.publish is None:
            return self
        return replace(self, due=_soonest(self.due, at), publish=_soonest(self.publish, at))

    def redelivered(self, at: datetime) -> "JobModel":
        return self.run_again(at) if self.state == "dead" else self

    def given_up(self) -> "JobModel":
        return self._final("skipped") if self.state in WAITING or self.state == "dead" else self

    def buried(self) -> "JobModel":
        return self._final("dead") if self.state in WAITING else self

    def moved(self, *, queue: str) -> "JobModel":
        return self if self.publish is None else replace(self, queue=queue)

    def paused(self, name: str) -> "JobModel":
        return replace(self, held=self.held | {name})

    def resumed(self, name: str) -> "JobModel":
        return replace(self, held=self.held - {name})

    # --- Time ---------------------------------------------------------------------------------------------------------

    def after(self, passed: timedelta) -> "JobModel":
        """Return the job as it is when so much time has passed and the clock has been set back by as much."""
        return self._with_spans(lambda span: Span(span.earliest - passed, span.latest - passed))

    def give_or_take(self, slack: timedelta) -> "JobModel":
        """Return the job with each moment less certain."""
        return self._with_spans(lambda span: Span(span.earliest - slack, span.latest + slack))

    def _with_spans(self, changed: Callable[[Span], Span]) -> "JobModel":
        return replace(
            self,
            began=changed(self.began),
            due=changed(self.due),
            publish=self.publish and changed(self.publish),
            lease=self.lease and changed(self.lease),
        )


def _soonest(span: Span, at: datetime) -> Span:
    return Span(min(span.earliest, at), min(span.latest, at))
