"""Declares handlers beside handlers.py, which imports one of them by name."""

from webhooks import Event, on


@on("push")
def imported_by_name(event: Event) -> None: ...


@on("push")
def imported_by_nobody(event: Event) -> None: ...
