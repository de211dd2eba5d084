"""Writes a report of many pages, slowly.

It has a queue of its own: `manage.py worker --queues slow` runs these jobs alone, so that quick ones never wait behind
them. When its worker is to stop (a deployment, a node that is drained), it hands the job back, which costs no attempt,
and another worker begins it again. A longer job would keep what is done, and go on from there.
"""

import time

from webhooks import Event, RetryLater, Run, on

PAGE_SECONDS = 0.2


@on("repository_dispatch", actions=["report"], queue="slow", time_limit=600)
def write_report(event: Event, run: Run) -> str:
    pages = event.payload["client_payload"]["pages"]
    for _ in range(pages):
        if run.stopping():
            raise RetryLater("the worker is to stop", after=0)
        write_page()
    return f"{pages} pages"


def write_page() -> None:
    time.sleep(PAGE_SECONDS)  # What takes long stands here.
