"""Two handlers of one name."""

from webhooks import Event, on


@on("push", name="same")
def one(event: Event) -> None: ...


@on("push", name="same")
def other(event: Event) -> None: ...
