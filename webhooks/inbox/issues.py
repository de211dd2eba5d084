"""Issues: dead and failing jobs grouped by their fingerprint, which is made of handler and error.

The groups of the dead are found by stepping through an index from one fingerprint to the next, so ten million dead jobs
of ten fingerprints cost ten steps. Failing jobs are those that are retried after an error; MOST_COUNTED of them are
looked at, those that are due first, or fewer where fewer will do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Count, Min, QuerySet

from webhooks.inbox import counts, releases
from webhooks.inbox.counts import Capped
from webhooks.models import IssueMark, Job
from webhooks.states import JobState

MOST_ISSUES = 1_000
"""How many fingerprints are looked at."""
_FINGERPRINTS = """
WITH RECURSIVE issue(fingerprint, number) AS (
    SELECT (SELECT min(fingerprint) FROM webhooks_job WHERE state = 'dead'), 1
    UNION ALL
    SELECT (
        SELECT min(job.fingerprint) FROM webhooks_job AS job
        WHERE job.state = 'dead' AND job.fingerprint > issue.fingerprint
    ), number + 1
    FROM issue WHERE fingerprint IS NOT NULL AND number < %s
)
SELECT fingerprint FROM issue WHERE fingerprint IS NOT NULL ORDER BY (
    SELECT max(job.finished_at) FROM webhooks_job AS job
    WHERE job.state = 'dead' AND job.fingerprint = issue.fingerprint
) DESC, fingerprint
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """Jobs that failed in the same way."""

    fingerprint: str
    handler: str
    error: str
    """Of the newest of them."""
    dead: Capped
    failing: Capped
    """Jobs that are retried after this error."""
    first_at: datetime | None
    last_at: datetime | None
    """When the newest died; where none is dead, when the last run began that failed."""
    release: str
    """The newest release that had been seen when the first of them failed; "" if none is known."""
    sample_job_id: int
    state: str
    note: str = ""
    marked_by: str = ""
    marked_at: datetime | None = None
    canary_job_id: int | None = None

    @property
    def key(self) -> str:
        """How it is named in a URL."""
        return self.fingerprint or NO_FINGERPRINT

    @property
    def count(self) -> Capped:
        """How many jobs are dead or failing."""
        return Capped(self.dead.count + self.failing.count, self.dead.most)

    @property
    def first_goes_at(self) -> datetime | None:
        """From when on retention may take the first of its dead jobs."""
        if not self.dead or self.first_at is None:
            return None
        return self.first_at + timedelta(days=settings.HOOKLINE_KEEP_DEAD_DAYS)


NO_FINGERPRINT = "none"
"""How a URL names the jobs without a fingerprint; only releases before this one left any."""


@dataclass(frozen=True, slots=True)
class Issues:
    """Issues of one state, the last seen first, and what is true of all of them."""

    shown: Sequence[Issue]
    count: int
    """How many there are in this state."""
    is_complete: bool
    """Whether all were looked at: of MOST_ISSUES fingerprints and so many failing jobs at most."""


def open_issues(*, limit: int) -> Issues:
    """Return the issues that nobody has acknowledged or ignored, the last seen first; each is counted to FEW."""
    return issues_in(IssueMark.State.OPEN, limit=limit, most=counts.FEW)


def issues_in(state: str, *, limit: int, most: int | None = None) -> Issues:
    """Return the issues in one state, the last seen first; `most` says how far their jobs are counted."""
    most = counts.MOST_COUNTED if most is None else most
    dead, (failing, are_all_failing) = _dead_fingerprints(), _failing(most)
    marks = {mark.fingerprint: mark for mark in IssueMark.objects.filter(fingerprint__in=[*dead, *failing])}

    def is_asked_for(fingerprint: str) -> bool:
        mark = marks.get(fingerprint)
        return (mark.state if mark else IssueMark.State.OPEN) == state

    chosen = [each for each in dead if is_asked_for(each)]
    only_failing = [each for each in failing if is_asked_for(each) and each not in set(dead)]
    name_at = releases.naming()
    found = [
        _issue(each, failing.get(each), marks.get(each), name_at=name_at, most=most)
        for each in [*chosen[:limit], *only_failing[:limit]]
    ]
    shown = sorted(filter(None, found), key=lambda issue: issue.last_at.timestamp() if issue.last_at else 0.0)
    return Issues(shown[::-1][:limit], len(chosen) + len(only_failing), len(dead) < MOST_ISSUES and are_all_failing)


def issue_of(fingerprint: str) -> Issue | None:
    """Return one issue; None if no job has this fingerprint now."""
    mark = IssueMark.objects.filter(fingerprint=fingerprint).first()
    failing, _ = _failing(counts.MOST_COUNTED)
    return _issue(fingerprint, failing.get(fingerprint), mark, name_at=releases.naming(), most=counts.MOST_COUNTED)


def dead_of(fingerprint: str) -> QuerySet[Job]:
    """Return the dead jobs of a fingerprint."""
    return Job.objects.filter(state=JobState.DEAD, fingerprint=fingerprint)


class _Failing(NamedTuple):
    jobs: int
    newest: int
    first_at: datetime | None
    last_at: datetime | None


def _dead_fingerprints() -> list[str]:
    """Return the fingerprints of dead jobs, MOST_ISSUES at most; that of the job that died last first."""
    with connection.cursor() as cursor:
        cursor.execute(_FINGERPRINTS, [MOST_ISSUES])
        return [fingerprint for (fingerprint,) in cursor.fetchall()]


def _failing(most: int) -> tuple[dict[str, _Failing], bool]:
    """Group the jobs that are retried after an error, among the first so many, and tell whether those are all."""
    retried = Job.objects.filter(state=JobState.RETRYING).order_by("due_at", "id")
    rows = list(retried.values_list("pk", "fingerprint", "claimed_at")[: most + 1])
    groups: dict[str, _Failing] = {}
    for job, fingerprint, at in rows:
        if not fingerprint:
            continue
        before = groups.get(fingerprint, _Failing(0, 0, at, at))
        groups[fingerprint] = _Failing(
            before.jobs + 1,
            max(before.newest, job),
            min(filter(None, (before.first_at, at)), default=None),
            max(filter(None, (before.last_at, at)), default=None),
        )
    return groups, len(rows) <= most


def _issue(
    fingerprint: str,
    failing: _Failing | None,
    mark: IssueMark | None,
    *,
    name_at: Callable[[datetime | None], str],
    most: int,
) -> Issue | None:
    dead = dead_of(fingerprint)
    oldest = dead.order_by("finished_at", "id")[: most + 1]
    # In the index's order: so the first of a capped count is the first of all.
    found = oldest.aggregate(count=Count("pk"), first_at=Min("finished_at"))
    newest = dead.order_by("-finished_at", "-id").first()
    if newest is None and failing is not None:
        newest = Job.objects.filter(pk=failing.newest).first()
    if newest is None:
        return None
    first_at = found["first_at"] or (failing.first_at if failing else None)
    return Issue(
        fingerprint=fingerprint,
        handler=newest.handler,
        error=newest.error,
        dead=Capped(found["count"], most),
        failing=Capped(failing.jobs if failing else 0, most),
        first_at=first_at,
        release=name_at(first_at),
        last_at=newest.finished_at or (failing.last_at if failing else None),
        sample_job_id=newest.pk,
        state=mark.state if mark else IssueMark.State.OPEN,
        note=mark.note if mark else "",
        marked_by=mark.marked_by if mark else "",
        marked_at=mark.marked_at if mark else None,
        canary_job_id=mark.canary_job if mark else None,
    )
