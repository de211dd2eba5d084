"""Stands for the app's own tests, which declare what they like."""

from webhooks.subscriptions.event import Event
from webhooks.subscriptions.subscription import on


@on("push")
def of_a_test(event: Event) -> None: ...
