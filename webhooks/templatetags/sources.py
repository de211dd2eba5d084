"""A secret's state, in the console's templates."""

from django import template
from django.utils.safestring import SafeString

from webhooks.templatetags.console import shown_state

register = template.Library()

_STATES: dict[str, tuple[str, str]] = {
    "current": ("circle-check", "green"),
    "unreadable": ("alert-triangle", "red"),
    "ended": ("clock", "orange"),
    "retired": ("ban", "secondary"),
}


@register.simple_tag
def secret_state(name: str) -> SafeString:
    """Return a secret's state: icon, word and colour."""
    return shown_state(name, _STATES[name], name)
