"""Stands for the app's own tests, which declare what they like."""

from webhooks import Event, on


@on("push")
def of_a_test(event: Event) -> None: ...
