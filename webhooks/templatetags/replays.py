"""A replay's state, in the console's templates."""

from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString

from webhooks.models import Replay
from webhooks.templatetags.console import shown_state

register = template.Library()

_STATES: dict[str, tuple[str, str]] = {
    Replay.State.RUNNING: ("player-play", "blue"),
    Replay.State.PAUSED: ("player-pause", "orange"),
    Replay.State.CANCELLED: ("player-stop", "secondary"),
    Replay.State.FINISHED: ("circle-check", "green"),
}


@register.simple_tag
def replay_state(name: str) -> SafeString:
    """Return a replay's state: icon, word and colour."""
    return shown_state(name, _STATES[name], name)


@register.filter
def rate(given: float) -> str:
    """Return a rate without needless digits: "10", "0.5"."""
    return f"{given:g}"


@register.filter
def moment_field(given: Any) -> str:
    """Return a moment as a field of the kind datetime-local takes it, in UTC; what is none, as it was given."""
    try:
        at = given if isinstance(given, datetime) else parse_datetime(str(given or ""))
    except ValueError:
        at = None
    if at is None:
        return str(given or "")
    return f"{at.astimezone(UTC) if at.tzinfo else at:%Y-%m-%dT%H:%M:%S}"
