"""How the admin's pages show moments, durations, states and attempts."""

from datetime import UTC, datetime

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from webhooks.durations import relative, took
from webhooks.inbox.outcomes import spent
from webhooks.models import Attempt, Delivery, Job
from webhooks.states import AttemptOutcome, JobState

LONGEST_IN_LIST = 140
_NOTHING = "–"  # noqa: RUF001  A dash for "nothing here".
_SIGNS = {
    JobState.QUEUED: "○",
    JobState.RUNNING: "▶",
    JobState.RETRYING: "↻",
    JobState.SUCCEEDED: "✓",
    JobState.DEAD: "✗",
    JobState.SKIPPED: "⊘",
}


def moment(at: datetime | None) -> str:
    """Return a moment, with "UTC", and how far it is from now."""
    if at is None:
        return _NOTHING
    return format_html(
        '<time class="moment" datetime="{}">{} UTC <span class="quiet">{}</span></time>',
        at.astimezone(UTC).isoformat(timespec="seconds"),
        f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        relative(at, now=timezone.now()),
    )


def state(value: str) -> SafeString:
    """Return a state as a sign and a word. The colour adds no information."""
    known = JobState(value)
    return format_html('<span class="state state-{}">{} {}</span>', known.value, _SIGNS[known], known.value)


def shortened(text: str) -> str:
    """Return the start of an error, as long as a list has room for; the row's own page has all of it."""
    return Truncator(text).chars(LONGEST_IN_LIST)


def attempts(job: Job) -> str:
    """Return how many of the allowed attempts are spent, and the run's number if it differs."""
    counted = f"{spent(job)} of {job.max_attempts}"
    return counted if spent(job) == job.attempt else f"{counted} (run {job.attempt})"


def next_or_end(job: Job) -> str:
    """Return the moment that matters in the job's state."""
    if job.state == JobState.RUNNING:
        return format_html("lease until {}", moment(job.lease_until))
    if job.state in (JobState.QUEUED, JobState.RETRYING):
        return format_html("due {}", moment(job.due_at))
    return format_html("ended {}", moment(job.finished_at))


def outcome(attempt: Attempt) -> str:
    return AttemptOutcome(attempt.outcome).label.lower() if attempt.outcome else "running"


def duration(attempt: Attempt) -> str:
    if attempt.finished_at is None:
        return f"{took(timezone.now() - attempt.started_at)} so far"
    return took(attempt.finished_at - attempt.started_at)


def link(row: Job | Delivery, text: str) -> SafeString:
    """Return a link to the row's page in the admin."""
    return format_html(
        '<a href="{}">{}</a>', reverse(f"admin:webhooks_{row._meta.model_name}_change", args=[row.pk]), text
    )


def event(delivery: Delivery) -> str:
    return f"{delivery.event} · {delivery.action}" if delivery.action else delivery.event
