"""A pass's state, in the console's templates."""

from django import template
from django.utils.safestring import SafeString

from webhooks.models import LogPass
from webhooks.templatetags.console import shown_state

register = template.Library()

_STATES: dict[str, tuple[str, str]] = {
    LogPass.State.RUNNING: ("player-play", "blue"),
    LogPass.State.STOPPED: ("player-pause", "orange"),
    LogPass.State.COMPLETE: ("circle-check", "green"),
    LogPass.State.INCOMPLETE: ("alert-triangle", "red"),
}


@register.simple_tag
def pass_state(name: str) -> SafeString:
    """Return a pass's state: icon, word and colour."""
    return shown_state(name, _STATES[name], name)
