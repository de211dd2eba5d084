"""A destination's state and filter, in the console's templates."""

from django import template
from django.utils.safestring import SafeString

from webhooks.models import Destination
from webhooks.templatetags.console import shown_state

register = template.Library()

_STATES: dict[str, tuple[tuple[str, str], str]] = {
    "on": (("circle-check", "green"), "on"),
    "failing": (("alert-triangle", "orange"), "failing"),
    "open": (("alert-triangle", "red"), "breaker open"),
    "paused": (("player-pause", "orange"), "handler paused"),
    "off": (("player-stop", "secondary"), "off"),
}


@register.simple_tag
def destination_state(name: str) -> SafeString:
    """Return a destination's state: icon, word and colour."""
    look, word = _STATES[name]
    return shown_state(name, look, word)


@register.filter
def filter_in_words(row: Destination) -> str:
    """Return what a destination takes, as a sentence without its end."""
    events = "every event" if "*" in row.events else ", ".join(row.events)
    parts = [events]
    if row.actions:
        parts.append(f"with the action {' or '.join(row.actions)}")
    if row.repository:
        parts.append(f"of {row.repository}")
    if row.where:
        parts.append(f"where {' and '.join(row.where)} {'fits' if len(row.where) == 1 else 'fit'}")
    return " ".join(parts)


@register.filter
def order_in_words(row: Destination) -> str:
    """Return in which order a destination's deliveries are sent, if it declares one."""
    one = f"one of each {_words(row.one_at_a_time_by)} at a time" if row.one_at_a_time_by else ""
    latest = f"only the newest of each {_words(row.latest_only_by)} waits" if row.latest_only_by else ""
    return "; ".join(filter(None, (one, latest)))


def _words(key: str) -> str:
    return key.replace("_", " ")
