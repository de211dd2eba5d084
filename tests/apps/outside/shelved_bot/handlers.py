"""Its handlers are left out, since the app is not installed."""

from webhooks import Event, on


def helper() -> None: ...


@on("push")
def shelved(event: Event) -> None: ...
