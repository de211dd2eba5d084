"""A handler that takes as long as it is told, and one that says how long its delivery has waited."""

import time

from webhooks import Event, on


@on("repository_dispatch", actions=["sleep"], queue="trial", time_limit=8)
def sleep(event: Event) -> str:
    time.sleep(float(event.payload["client_payload"]["seconds"]))
    return "slept"


@on("repository_dispatch", actions=["clock"], queue="trial", time_limit=8)
def clock(event: Event) -> str:
    """Say how many milliseconds ago the delivery was sent, by a clock of the same machine."""
    return f"{1000 * (time.time() - event.payload['client_payload']['sent_at']):.2f}"
