"""A library of no app, which declares a handler of its own as it is imported."""

from webhooks import Event, on


@on("push")
def lost_in_a_library(event: Event) -> None: ...
