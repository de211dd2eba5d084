"""A token's state, in the console's templates."""

from django import template
from django.utils.safestring import SafeString

from webhooks.templatetags.console import shown_state

register = template.Library()

_STATES: dict[str, tuple[str, str]] = {
    "usable": ("circle-check", "green"),
    "expired": ("clock", "secondary"),
    "revoked": ("ban", "red"),
}


@register.simple_tag
def token_state(name: str) -> SafeString:
    """Return a token's state: icon, word and colour."""
    return shown_state(name, _STATES[name], name)
