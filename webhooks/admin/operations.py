"""What an operator may do to jobs: run them again, or give them up. One UPDATE a state, however many jobs there are."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from webhooks import transitions
from webhooks.models import Job, JobState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something done to jobs, and why it is not done to those in some states."""

    name: str
    label: str
    carry_out: Callable[[QuerySet[Job]], int]
    done: str
    refused: Mapping[str, str]
    """Each state that the operation leaves as it is, and the reason."""

    def allows(self, state: str) -> bool:
        return state not in self.refused


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


def operate(request: HttpRequest, operation: Operation, jobs: QuerySet[Job]) -> int:
    """Carry an operation out, tell the operator what became of how many jobs, and return how many changed."""
    with transaction.atomic():
        before = _count_by_state(jobs)
        changed = operation.carry_out(jobs)
    left = {state: count for state, count in before.items() if not operation.allows(state)}
    logger.info(
        "operator changed jobs",
        extra={"operation": operation.name, "user": request.user.get_username(), "changed": changed},
    )
    is_whole = changed == sum(before.values())
    messages.add_message(
        request, messages.SUCCESS if is_whole else messages.WARNING, in_words(operation, changed=changed, left=left)
    )
    return changed


def in_words(operation: Operation, *, changed: int, left: Mapping[str, int]) -> str:
    """Return "3 jobs queued to run again. 1 left as it was: 1 running (running now)."."""
    sentence = f"{_jobs(changed)} {operation.done}."
    if not left:
        return sentence
    total = sum(left.values())
    reasons = ", ".join(f"{count:,} {state} ({operation.refused[state]})" for state, count in left.items())
    return f"{sentence} {total:,} left as {'it was' if total == 1 else 'they were'}: {reasons}."


def _jobs(count: int) -> str:
    if not count:
        return "No job"
    return "1 job" if count == 1 else f"{count:,} jobs"


def _count_by_state(jobs: QuerySet[Job]) -> dict[str, int]:
    counts: QuerySet[Any, Any] = jobs.order_by().values_list("state").annotate(count=Count("pk"))
    return dict(counts)
