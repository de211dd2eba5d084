"""Three handlers that wait, as for an answer over the network: briefly, for a while, and for longer than a short grace.

Each leaves a mark as it begins and one as it is done, in the file that TRIAL_EFFECTS names.
"""

import os
import time

from tests.apps.trial.handlers import QUICK, leave_a_mark
from webhooks import Event, Run, on

BRIEF_SECONDS = 0.02
SLOW_SECONDS = 3.0
LONG_SECONDS = 30.0
LENGTH = "DRAIN_LONG_SECONDS"
"""The variable that makes the long handler shorter, for a suite that cannot wait for it."""


def wait(event: Event, run: Run, seconds: float) -> str:
    leave_a_mark(event, run.attempt, "begun")
    time.sleep(seconds)
    leave_a_mark(event, run.attempt, "done")
    return f"waited for {seconds:g} s"


@on("push", time_limit=20, backoff=QUICK)
def brief(event: Event, run: Run) -> str:
    return wait(event, run, BRIEF_SECONDS)


@on("workflow_run", queue="team", time_limit=20, backoff=QUICK)
def slow(event: Event, run: Run) -> str:
    return wait(event, run, SLOW_SECONDS)


@on("check_run", queue="team", time_limit=80, backoff=QUICK)
def long(event: Event, run: Run) -> str:
    return wait(event, run, float(os.environ.get(LENGTH, LONG_SECONDS)))
