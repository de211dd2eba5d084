"""One handler, on a queue of its own."""

import time

from webhooks import Event, on

QUEUE = "probed"


@on("repository_dispatch", actions=["occupy"], queue=QUEUE, time_limit=600)
def occupy(event: Event) -> None:
    """Sleep for as long as the payload says."""
    time.sleep(float(event.payload["client_payload"]["seconds"]))
