"""Declares handlers beside handlers.py, which imports one of them by name."""

from webhooks.subscriptions.event import Event
from webhooks.subscriptions.subscription import on


@on("push")
def imported_by_name(event: Event) -> None: ...


@on("push")
def imported_by_nobody(event: Event) -> None: ...
