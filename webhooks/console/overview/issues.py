"""What fails, grouped by fingerprint: of the newest dead and retrying jobs, so that no number of them makes it slow."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models.functions import Coalesce

from webhooks.models import IssueMark, Job
from webhooks.states import JobState

SEARCHED = 1_000
"""So many dead jobs and so many retrying ones are looked at, the newest of each."""
_COLUMNS = ("pk", "fingerprint", "handler", "error")


@dataclass(slots=True)
class Issue:
    """The jobs of one fingerprint, among those that were looked at."""

    fingerprint: str
    handler: str
    error: str
    count: int
    first_at: datetime
    last_at: datetime
    sample_job: int


@dataclass(frozen=True, slots=True)
class Issues:
    """The open issues, the one that happened last first."""

    shown: list[Issue]
    count: int
    is_whole: bool
    """Whether all dead and retrying jobs were looked at."""
    searched: int = SEARCHED


def open_issues(*, limit: int) -> Issues:
    """Group the newest failures, without what an operator has acknowledged or ignored."""
    closed = set(IssueMark.objects.exclude(state=IssueMark.State.OPEN).values_list("fingerprint", flat=True))
    found: dict[str, Issue] = {}
    is_whole = True
    for state, column in ((JobState.DEAD, "finished_at"), (JobState.RETRYING, "due_at")):
        rows = list(_newest(state, column))
        is_whole &= len(rows) < SEARCHED
        for pk, fingerprint, handler, error, at in rows:
            if error and fingerprint not in closed:
                _count(found, Issue(fingerprint, handler, error, 1, at, at, pk))
    issues = sorted(found.values(), key=lambda issue: issue.last_at, reverse=True)
    return Issues(issues[:limit], len(issues), is_whole)


def _newest(state: JobState, column: str) -> Iterator[tuple[int, str, str, str, datetime]]:
    """Yield the newest jobs of a state, by its partial index, each with the time of its last claim."""
    rows = Job.objects.filter(state=state).order_by(f"-{column}", "-id")
    yield from rows.values_list(*_COLUMNS, Coalesce("claimed_at", "created_at"))[:SEARCHED]


def _count(found: dict[str, Issue], one: Issue) -> None:
    issue = found.setdefault(one.fingerprint or f"{one.handler} {one.error}", one)
    if issue is not one:
        issue.count += 1
        issue.first_at, issue.last_at = min(issue.first_at, one.first_at), max(issue.last_at, one.last_at)
