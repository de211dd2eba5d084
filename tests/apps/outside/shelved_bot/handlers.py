"""Its handlers are left out, since the app is not installed."""

from webhooks.subscriptions.event import Event
from webhooks.subscriptions.subscription import on


def helper() -> None: ...


@on("push")
def shelved(event: Event) -> None: ...
