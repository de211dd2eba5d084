"""Writes a report of many pages, slowly.

It has a queue of its own: `manage.py worker --queues slow` runs only these jobs, so that quick ones never wait for
them. When its worker is to stop (a deployment, a node that is drained), the handler hands the job back, which costs no
attempt, and another worker starts it again. A longer job would store its progress, and continue from there.
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
    time.sleep(PAGE_SECONDS)  # The slow work goes here.
