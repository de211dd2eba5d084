"""The handler of `timed` that takes as long as it is told, in a queue that is shared among installations."""

import time

from webhooks import Event, on


@on("repository_dispatch", actions=["sleep"], queue="trial", time_limit=8, fair_by="installation")
def sleep(event: Event) -> str:
    time.sleep(float(event.payload["client_payload"]["seconds"]))
    return "slept"
