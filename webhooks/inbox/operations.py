"""What an operator may do to jobs: run them again, or give them up. In batches, each with a transaction of its own."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, QuerySet

from webhooks.inbox import transitions
from webhooks.models import Job
from webhooks.states import JobState

BATCH = 500
MOST_AT_ONCE = 50_000
"""How many jobs one request changes. For more, the operator is asked to continue."""
MOST_SECONDS = 10.0
"""For how long one request begins new batches: a receiver that stops waits 15 s for an answer, by default."""

PAUSE_SECONDS = 0.12
"""Pause between two batches on SQLite, which has one writer at a time: other writers try every 0.1 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation on jobs, and the reasons why it does not change jobs in some states."""

    name: str
    label: str
    carry_out: Callable[[QuerySet[Job]], int]
    done: str
    refused: Mapping[str, str]
    """The states that the operation does not change, each with the reason."""
    needs_payload: bool = False

    def refusal(self, state: str, *, has_payload: bool) -> str:
        """Return why a job is not changed; empty if it is changed."""
        if state in self.refused:
            return self.refused[state]
        return "payload pruned" if self.needs_payload and not has_payload else ""


RUN_AGAIN = Operation(
    name="run_again",
    label="Run again",
    carry_out=transitions.run_again,
    done="queued to run again",
    refused={
        JobState.QUEUED: "already waiting to run",
        JobState.RUNNING: "running now",
        JobState.RETRYING: "retried by itself",
    },
    needs_payload=True,
)
GIVE_UP = Operation(
    name="give_up",
    label="Give up",
    carry_out=transitions.give_up,
    done="given up",
    refused={
        JobState.RUNNING: "running now, and may still succeed",
        JobState.SUCCEEDED: "already done",
        JobState.SKIPPED: "given up before",
    },
)
OPERATIONS = (RUN_AGAIN, GIVE_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an operation would do to some jobs, counted exactly."""

    operation: Operation
    changing: int
    left: Mapping[tuple[str, str], int]
    """How many jobs are not changed, by state and reason."""

    @property
    def changing_in_words(self) -> str:
        return in_number(self.changing)

    @property
    def sentence_on_left(self) -> str:
        """Return "1 left as it was: 1 running (running now)."; empty if none is left."""
        if not self.left:
            return ""
        total = sum(self.left.values())
        reasons = ", ".join(f"{count:,} {state} ({reason})" for (state, reason), count in self.left.items())
        return f"{total:,} left as {'it was' if total == 1 else 'they were'}: {reasons}."

    def left_after(self, changed: int) -> str:
        """Return what was not changed and why, after `changed` jobs were. Another operator may have changed some."""
        if changed < self.changing:
            return f"{self.changing - changed:,} changed meanwhile, and left. {self.sentence_on_left}"
        return self.sentence_on_left if changed or self.left else "What was selected changed meanwhile."


def forecast(operation: Operation, jobs: QuerySet[Job]) -> Forecast:
    """Count the jobs that an operation would change, and those that it would leave."""
    without = {"without": Count("pk", filter=~transitions.HAS_PAYLOAD)} if operation.needs_payload else {}
    rows: QuerySet[Any, Any] = jobs.order_by().values("state").annotate(count=Count("pk"), **without)
    changing, left = 0, dict[tuple[str, str], int]()
    for row in rows:
        pruned = row.get("without", 0)
        for has_payload, count in ((True, row["count"] - pruned), (False, pruned)):
            reason = operation.refusal(row["state"], has_payload=has_payload)
            if not reason:
                changing += count
            elif count:
                left[row["state"], reason] = left.get((row["state"], reason), 0) + count
    return Forecast(operation=operation, changing=changing, left=left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What an operation has changed."""

    changed: int
    """How many jobs."""
    reached: int | None
    """The last job that was read, if there are more after it."""


def carry_out(operation: Operation, jobs: QuerySet[Job], *, note: Callable[[int], None]) -> Done:
    """Carry an operation out on the first MOST_AT_ONCE of these jobs, by their numbers, for MOST_SECONDS.

    `note` is called with the number of changed jobs in the transaction of each batch: so what it writes is true even if
    the next batch fails. Each batch filters again by `jobs`: a job may have changed meanwhile.
    """
    deadline = time.monotonic() + MOST_SECONDS
    ids = list(jobs.order_by("pk").values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    reached = changed = 0
    while reached < min(len(ids), MOST_AT_ONCE) and (not reached or time.monotonic() < deadline):
        batch = ids[reached : min(reached + BATCH, MOST_AT_ONCE)]
        with transaction.atomic():
            if more := operation.carry_out(jobs.filter(pk__in=batch)):
                changed += more
                note(changed)
        reached += len(batch)
        if not connection.features.has_select_for_update:
            time.sleep(PAUSE_SECONDS)
    return Done(changed=changed, reached=ids[reached - 1] if reached < len(ids) else None)


def in_words(operation: Operation, changed: int, *, left: str) -> str:
    """Return "3 jobs queued to run again.", and what was left."""
    return f"{in_number(changed)} {operation.done}. {left}".strip()


def in_number(count: int) -> str:
    """Return "No job", "1 job", "4,310 jobs"."""
    if not count:
        return "No job"
    return "1 job" if count == 1 else f"{count:,} jobs"
