"""What an operator may do to jobs: run them again, retry them now, or give them up. In batches, a transaction for each.

A selection is fixed before it is confirmed: jobs that are created or that end later are not changed. So if two
operators (or two clicks) ask to run the same job again, it runs again once.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Exists, Q, QuerySet
from django.db.models.functions import Now

from webhooks.inbox import audit, transitions
from webhooks.models import Change, Job
from webhooks.states import JobState

BATCH = 500
MOST_AT_ONCE = 50_000
"""How many jobs one request changes. For more, the operator is asked to continue."""
MOST_SECONDS = 10.0
"""For how long one request begins new batches: a receiver that stops waits 15 s for an answer, by default."""

PAUSE_SECONDS = 0.12
"""Pause between two batches on SQLite, which has one writer at a time: other writers try every 0.1 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What must hold for a job beside its state, and why it is not changed where that does not hold."""

    condition: Q | Exists
    otherwise: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation on jobs, and the reasons why it does not change jobs in some states."""

    name: str
    label: str
    icon: str
    carry_out: Callable[[QuerySet[Job]], int]
    done: str
    refused: Mapping[str, str]
    """The states that the operation does not change, each with the reason."""
    need: Need | None = None

    @property
    def states(self) -> list[str]:
        """The states that it changes."""
        return [state.value for state in JobState if state not in self.refused]

    def refusal(self, state: str, *, has_need: bool) -> str:
        """Return why a job is not changed; empty if it is changed."""
        if state in self.refused:
            return self.refused[state]
        return self.need.otherwise if self.need and not has_need else ""

    def changeable(self, jobs: QuerySet[Job]) -> QuerySet[Job]:
        """Return those of the jobs that would be changed now."""
        jobs = jobs.filter(state__in=self.states)
        return jobs.filter(self.need.condition) if self.need else jobs


RUN_AGAIN = Operation(
    name="run_again",
    label="Run again",
    icon="rotate-clockwise",
    carry_out=transitions.run_again,
    done="queued to run again",
    refused={
        JobState.QUEUED: "already waiting to run",
        JobState.RUNNING: "running now",
        JobState.RETRYING: "retried by itself",
    },
    need=Need(condition=transitions.HAS_PAYLOAD, otherwise="payload pruned"),
)
RETRY_NOW = Operation(
    name="retry_now",
    label="Retry now",
    icon="player-skip-forward",
    carry_out=transitions.retry_now,
    done="due now",
    refused={
        JobState.QUEUED: "already due",
        JobState.RUNNING: "running now",
        JobState.SUCCEEDED: "already done",
        JobState.DEAD: "dead; it can be run again",
        JobState.SKIPPED: "given up; it can be run again",
    },
    need=Need(condition=Q(publish_at__gt=Now()) | Q(publish_at=None, due_at__gt=Now()), otherwise="already due"),
)
GIVE_UP = Operation(
    name="give_up",
    label="Give up",
    icon="ban",
    carry_out=transitions.give_up,
    done="given up",
    refused={
        JobState.RUNNING: "running now, and may still succeed",
        JobState.SUCCEEDED: "already done",
        JobState.SKIPPED: "given up before",
    },
)
OPERATIONS = (RUN_AGAIN, RETRY_NOW, GIVE_UP)
BY_NAME: Mapping[str, Operation] = {operation.name: operation for operation in OPERATIONS}


def allowed(job: Job) -> list[Operation]:
    """Return what may be done to a job in its state of now."""
    one = Job.objects.filter(pk=job.pk)
    return [each for each in OPERATIONS if job.state not in each.refused and each.changeable(one).exists()]


# --- Before: which jobs, and what would happen ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What fixes a selection to its jobs of one moment, by the database's clock."""

    newest: int
    """The newest job of that moment."""
    until: datetime
    """That moment: what ended later is not selected."""
    after: int = 0
    """The last job that was looked at, where an earlier request has begun with the selection."""

    def within(self, jobs: QuerySet[Job]) -> QuerySet[Job]:
        """Return the jobs that are still selected."""
        has_not_ended = Q(finished_at=None) | Q(finished_at__lte=self.until)
        return jobs.filter(has_not_ended, pk__gt=self.after, pk__lte=self.newest)

    def from_there(self, reached: int) -> "Fixed":
        """Return the rest of the selection."""
        return replace(self, after=reached)


def fixed_now() -> Fixed | None:
    """Return what fixes a selection to the jobs of now; None if there is no job."""
    newest = Job.objects.order_by("-pk").values_list("pk", Now()).first()
    return Fixed(newest=newest[0], until=newest[1]) if newest else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The jobs of one handler in one state: how many, and why they are left as they are (empty if they are changed)."""

    handler: str
    state: str
    count: int
    refusal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an operation would do to some jobs, counted exactly."""

    operation: Operation
    parts: tuple[Part, ...]

    @property
    def changing(self) -> int:
        return sum(part.count for part in self.parts if not part.refusal)

    @property
    def left(self) -> dict[tuple[str, str], int]:
        """How many jobs are not changed, by state and reason."""
        counts: dict[tuple[str, str], int] = {}
        for part in self.parts:
            if part.refusal:
                counts[part.state, part.refusal] = counts.get((part.state, part.refusal), 0) + part.count
        return counts

    @property
    def changing_in_words(self) -> str:
        return in_number(self.changing)

    @property
    def sentence_on_left(self) -> str:
        """Return "1 left as it was: 1 running (running now)."; empty if none is left."""
        left = self.left
        if not left:
            return ""
        total = sum(left.values())
        reasons = ", ".join(f"{count:,} {state} ({reason})" for (state, reason), count in left.items())
        return f"{total:,} left as {'it was' if total == 1 else 'they were'}: {reasons}."

    def left_after(self, changed: int) -> str:
        """Return what was not changed and why, after `changed` jobs were. Another operator may have changed some."""
        if changed < self.changing:
            return f"{self.changing - changed:,} changed meanwhile, and left. {self.sentence_on_left}".strip()
        return self.sentence_on_left if changed or self.left else "What was selected changed meanwhile."


def forecast(operation: Operation, jobs: QuerySet[Job]) -> Forecast:
    """Count the jobs that an operation would change, and those that it would leave, by handler and state."""
    lacking = {"lacking": Count("pk", filter=~operation.need.condition)} if operation.need else {}
    rows: QuerySet[Any, Any] = jobs.order_by().values("handler", "state").annotate(count=Count("pk"), **lacking)
    parts = [part for row in rows for part in _parts(operation, row)]
    return Forecast(operation=operation, parts=tuple(sorted(parts, key=lambda one: (one.state, one.handler))))


def _parts(operation: Operation, row: Mapping[str, Any]) -> Iterator[Part]:
    lacking = row.get("lacking", 0)
    if row["state"] in operation.refused:
        lacking = 0  # The state is reason enough.
    for has_need, count in ((True, row["count"] - lacking), (False, lacking)):
        if count:
            refusal = operation.refusal(row["state"], has_need=has_need)
            yield Part(handler=row["handler"], state=row["state"], count=count, refusal=refusal)


# --- The change itself ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for an operation, on what, and why: it goes to the audit log with every job that is changed."""

    who: str
    scope: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What an operation has changed."""

    changed: int
    """How many jobs."""
    reached: int | None
    """The last job that was read, if there are more after it."""


def carry_out(operation: Operation, jobs: QuerySet[Job], *, asked: Asked) -> Done:
    """Carry an operation out on the first MOST_AT_ONCE of these jobs, by their numbers, for MOST_SECONDS.

    Each batch writes its jobs to the audit log in its own transaction: so what stands there is true even if the next
    batch fails. Each batch filters again by `jobs`: a job may have changed meanwhile.
    """
    deadline = time.monotonic() + MOST_SECONDS
    ids = list(jobs.order_by("pk").values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    reached = changed = 0
    change: Change | None = None
    while reached < min(len(ids), MOST_AT_ONCE) and (not reached or time.monotonic() < deadline):
        batch = ids[reached : min(reached + BATCH, MOST_AT_ONCE)]
        more, change = _batch(operation, jobs.filter(pk__in=batch), asked=asked, change=change)
        changed += more
        reached += len(batch)
        if not connection.features.has_select_for_update:
            time.sleep(PAUSE_SECONDS)
    return Done(changed=changed, reached=ids[reached - 1] if reached < len(ids) else None)


def _batch(
    operation: Operation, jobs: QuerySet[Job], *, asked: Asked, change: Change | None
) -> tuple[int, Change | None]:
    """Change one batch and note each of its jobs; return how many, and the entry in the audit log."""
    with transaction.atomic():
        transitions.lock(jobs)
        # Read under the locks, which hold states and payloads as they are: so exactly these are changed.
        ids = list(operation.changeable(jobs).order_by("pk").values_list("pk", flat=True))
        if not ids:
            return 0, change
        operation.carry_out(Job.objects.filter(pk__in=ids))
        if change is None:
            change = audit.record(operation.name, who=asked.who, scope=asked.scope, reason=asked.reason, jobs=ids)
        else:
            audit.extend(change, ids)
        return len(ids), change


def in_words(operation: Operation, changed: int, *, left: str) -> str:
    """Return "3 jobs queued to run again.", and what was left."""
    return f"{in_number(changed)} {operation.done}. {left}".strip()


def in_number(count: int) -> str:
    """Return "No job", "1 job", "4,310 jobs"."""
    if not count:
        return "No job"
    return "1 job" if count == 1 else f"{count:,} jobs"
