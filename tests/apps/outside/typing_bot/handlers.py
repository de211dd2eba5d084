"""One handler, whose event is misspelt."""

from webhooks import Event, on


@on("pull_requests")
def misspelt(event: Event) -> None: ...
