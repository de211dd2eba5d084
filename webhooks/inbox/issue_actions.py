"""What an operator may do to an issue: mark it, retry one of its jobs as a canary, retry or give up all of them."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from webhooks.inbox import audit
from webhooks.inbox.issues import dead_of
from webhooks.inbox.operations import RUN_AGAIN, Asked, Done, Operation, carry_out
from webhooks.inbox.transitions import HAS_PAYLOAD, run_again
from webhooks.models import IssueMark, Job
from webhooks.states import JobState


def mark(fingerprint: str, state: str, *, note: str, who: str) -> None:
    """Mark an issue as open, acknowledged or ignored. The mark stays, however many jobs die afterwards."""
    with transaction.atomic():
        IssueMark.objects.update_or_create(
            fingerprint=fingerprint,
            defaults={"state": state, "note": note[:500], "marked_by": who[:150], "marked_at": Now()},
        )
        audit.record(f"mark_{state}", who=who, scope=scope_of(fingerprint), reason=note)


def retry_one(fingerprint: str, *, who: str) -> int | None:
    """Run the newest dead job of an issue again, as a canary for the others; return it, or None if none can run."""
    with transaction.atomic():
        newest = dead_of(fingerprint).filter(HAS_PAYLOAD).order_by("-finished_at", "-id").first()
        if newest is None or not run_again(dead_of(fingerprint).filter(pk=newest.pk)):
            return None
        IssueMark.objects.update_or_create(fingerprint=fingerprint, defaults={"canary_job": newest.pk})
        audit.record("retry_canary", who=who, scope=scope_of(fingerprint), jobs=[newest.pk])
    return newest.pk


@dataclass(frozen=True, slots=True)
class Canary:
    """The job of an issue that was retried before the others, as it is now."""

    job: Job
    is_outdated: bool
    """Whether jobs died after it had ended well: it says nothing of these."""

    @property
    def has_succeeded(self) -> bool:
        return self.job.state == JobState.SUCCEEDED and not self.is_outdated

    @property
    def is_under_way(self) -> bool:
        return self.job.state in (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING)


def canary_of(job_id: int | None, *, last_at: datetime | None) -> Canary | None:
    """Return an issue's canary; None if there is none, or retention has taken it."""
    job = Job.objects.filter(pk=job_id).first() if job_id else None
    if job is None:
        return None
    ended = job.finished_at
    return Canary(job, is_outdated=bool(ended and last_at and job.state == JobState.SUCCEEDED and ended < last_at))


def group(fingerprint: str, *, until: datetime) -> QuerySet[Job]:
    """Return the jobs of an issue that had died by a moment: those that died later were not asked about."""
    return dead_of(fingerprint).filter(finished_at__lte=until)


def act_on_group(operation: Operation, jobs: QuerySet[Job], *, fingerprint: str, who: str, reason: str) -> Done:
    """Carry an operation out on an issue's jobs, in batches; each batch stands in the audit as it is committed."""
    done = carry_out(operation, jobs, asked=Asked(who=who, scope=scope_of(fingerprint), reason=reason))
    if done.changed:
        IssueMark.objects.update_or_create(
            fingerprint=fingerprint, defaults={"canary_job": None} if operation is RUN_AGAIN else {}
        )
    return done


def scope_of(fingerprint: str) -> str:
    return f"issue {fingerprint}"
