"""What the console's templates say of workers."""

from dataclasses import dataclass

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webhooks.inbox import workers
from webhooks.inbox.workers import LOST, State
from webhooks.models import Job, WorkerRequest
from webhooks.states import JobState
from webhooks.templatetags.console import icon

register = template.Library()

PATIENCE_SECONDS = 15.0
"""After so long the page says that the worker has not answered, and no longer asks."""
_STATES = {
    LOST: ("alert-triangle", "red"),
    State.DRAINING: ("player-stop", "orange"),
    State.STARTING: ("repeat", "azure"),
    State.READY: ("circle-check", "green"),
    State.STOPPED: ("ban", "secondary"),
}


@register.simple_tag
def worker_state(name: str) -> SafeString:
    """Return a worker's state: icon, word and colour."""
    symbol, colour = _STATES[name]
    word = name if name == LOST else State(name).label
    return format_html(
        '<span class="state text-{}" data-state="{}">{} <span class="state-word">{}</span></span>',
        colour, name, icon(symbol), word,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What the job's page knows of its stack."""

    request: WorkerRequest | None
    is_awaited: bool
    has_no_answer: bool
    may_ask: bool


@register.simple_tag
def stack_of(job: Job) -> Stack:
    """Return what was asked about a job's stack, and whether it may be asked again."""
    request = workers.newest_stack(job)
    is_open = request is not None and workers.is_awaited(request)
    is_patient = request is not None and workers.waited_seconds(request) < PATIENCE_SECONDS
    is_awaited = is_open and is_patient
    return Stack(
        request=request,
        is_awaited=is_awaited,
        has_no_answer=request is not None and request.answered_at is None and not is_awaited,
        may_ask=job.state == JobState.RUNNING and not is_awaited,
    )
