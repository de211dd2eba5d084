"""Handlers whose jobs are in order, or shared out, by what stands in the payload."""

import time

from tests.apps.trial.handlers import leave_a_mark
from webhooks import Event, Run, on

KEY = "client_payload.of"


@on("repository_dispatch", actions=["ordered"], queue="trial", time_limit=3, one_at_a_time_by=KEY, fair_by=KEY)
def in_order(event: Event, run: Run) -> str:
    leave_a_mark(event, run.attempt, f"begun {time.time()}")
    time.sleep(0.15)
    leave_a_mark(event, run.attempt, f"done {time.time()}")
    return "done"
