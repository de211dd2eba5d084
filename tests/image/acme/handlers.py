"""Handlers that take their time, and one that leaves a process behind."""

import os
import time

from webhooks import Event, on


@on("repository_dispatch", actions=["work"], time_limit=30)
def work(event: Event) -> str:
    """Take as long as the payload says."""
    time.sleep(float(event.payload["client_payload"].get("seconds", 0)))
    return "worked"


@on("repository_dispatch", actions=["compute"], time_limit=30)
def compute(event: Event) -> str:
    """Use so many seconds of the CPU."""
    until = time.process_time() + float(event.payload["client_payload"]["seconds"])
    while time.process_time() < until:
        pass
    return "computed"


@on("repository_dispatch", actions=["work-briefly"], time_limit=6)
def work_briefly(event: Event) -> str:
    """The same, under a limit that is soon over for a run whose worker was killed."""
    return work(event)


@on("repository_dispatch", actions=["orphan"], time_limit=30)
def leave_an_orphan(event: Event) -> str:
    """Have a child that has a child, and wait for the first alone: the second is then PID 1's."""
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(0.2)
        os._exit(0)
    os.waitpid(child, 0)
    return "left an orphan"
