"""The handlers that Hookline brings along, and the example of how to write one."""

from webhooks.event import Event
from webhooks.subscriptions import on


@on("ping")
def mark_hook_live(event: Event) -> str:
    """Remember that a hook reaches us."""
    return str(event.payload.get("zen", ""))
