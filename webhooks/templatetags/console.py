"""What the console's templates say in one way: icons, states, moments, durations."""

from datetime import UTC, datetime, timedelta

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webhooks.durations import relative, took
from webhooks.inbox.outcomes import spent
from webhooks.inbox.waiting_facts import explain
from webhooks.inbox.waiting_values import Waiting
from webhooks.models import Job
from webhooks.states import AttemptOutcome, JobState

register = template.Library()

_HIDDEN = SafeString('aria-hidden="true"')
_NOTHING = SafeString("&ndash;")

_STATES: dict[str, tuple[str, str]] = {
    JobState.QUEUED: ("clock", "azure"),
    JobState.RUNNING: ("player-play", "blue"),
    JobState.RETRYING: ("repeat", "orange"),
    JobState.SUCCEEDED: ("circle-check", "green"),
    JobState.DEAD: ("skull", "red"),
    JobState.SKIPPED: ("player-skip-forward", "secondary"),
    AttemptOutcome.FAILED: ("circle-x", "red"),
    AttemptOutcome.SOFT_LIMIT: ("clock", "red"),
    AttemptOutcome.HARD_LIMIT: ("clock", "red"),
    AttemptOutcome.RETRY_LATER: ("repeat", "orange"),
    AttemptOutcome.GAVE_UP: ("ban", "red"),
    AttemptOutcome.HANDED_BACK: ("arrow-back-up", "secondary"),
    AttemptOutcome.CRASHED: ("bolt", "red"),
    AttemptOutcome.LOST: ("alert-triangle", "red"),
}
"""Each state's icon and colour. The word always stands beside them: colour alone tells nothing."""


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """Return an icon of assets/icons.txt. With a label it stands for a word; without one, screen readers skip it."""
    hidden = format_html('role="img" aria-label="{}"', label) if label else _HIDDEN
    return format_html(
        '<svg class="icon" width="20" height="20" {}><use href="{}#{}"></use></svg>',
        hidden,
        static("vendor/icons.svg"),
        name,
    )


@register.simple_tag
def state(name: str) -> SafeString:
    """Return a job's state or an attempt's outcome: icon, word and colour."""
    word = AttemptOutcome(name).label.lower() if name in AttemptOutcome.values else name
    return shown_state(name, _STATES.get(name, ("info-circle", "secondary")), word)


def shown_state(name: str, look: tuple[str, str], word: str) -> SafeString:
    """Return a state of anything: `look` is its icon and colour."""
    symbol, colour = look
    return format_html(
        '<span class="state text-{}" data-state="{}">{} <span class="state-word">{}</span></span>',
        colour,
        name,
        icon(symbol),
        word,
    )


@register.simple_tag
def moment(at: datetime | None) -> SafeString:
    """Return a moment as the date and the time of day with their zone, and how far it is from now."""
    if at is None:
        return _NOTHING
    return format_html(
        '<time class="moment" datetime="{}"><span>{}</span> <span class="moment-at">{}</span></time>',
        at.astimezone(UTC).isoformat(timespec="seconds"),
        relative(at, now=timezone.now()),
        f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
    )


@register.simple_tag
def spent_of(job: Job) -> str:
    """Return "2 of 5": how many of the allowed attempts are spent."""
    return f"{spent(job)} of {job.max_attempts}"


@register.simple_tag
def waiting_of(job: Job) -> Waiting | None:
    """Return why a job waits, or who runs it; None if it is final."""
    return explain(job)


@register.filter
def duration(given: timedelta | float | None) -> str:
    """Return a duration, given as such or in seconds: "420 ms", "1.2 s", "4 min"."""
    if given is None:
        return ""
    return took(given if isinstance(given, timedelta) else timedelta(seconds=given))


@register.filter
def thousands(number: int | None) -> str:
    """Return a number with its thousands apart: "4,310"."""
    return "" if number is None else f"{number:,}"
