"""Handlers that take a moment, fail once or ask for later, and handlers that take their process with them.

What one does stands in the payload. Each leaves a line as it begins and one as its effect is done, in the file that
TRIAL_EFFECTS names; an append of one line is whole or absent, whoever is killed when.
"""

import ctypes
import os
import select
import signal
import time
from pathlib import Path

from tests.apps.trial.handlers import leave_a_mark, swallow_for
from webhooks import Backoff, Event, RetryLater, Run, on

QUICK = Backoff(first=0.2, longest=0.5)
LIMIT = 4.0
"""Seconds: with the suite's lease margin of two, what a dead worker held comes back after six."""
POISON_LIMIT = 1.0
HOLD_LIMIT = 60.0
LET_GO = ".let-go"
"""What the name of the file is given that lets go of all children; the file of marks has the rest of it."""
LOOK_SECONDS = 0.1
UNSTORABLE = "unstorable"
HOARD_MB = 1_500
"""What the greedy handler asks for, in steps: more than any child may have, and less than the machine has."""


def effect(event: Event, run: Run) -> None:
    """Take as long as the payload says, and leave both marks."""
    leave_a_mark(event, run.attempt, "begun")
    # Not time.sleep: under libfaketime it fails in Python 3.11, which sleeps until a moment.
    select.select([], [], [], float(event.payload.get("seconds", 0)))
    leave_a_mark(event, run.attempt, "done")


@on("workflow_run", queue="team", time_limit=LIMIT, backoff=QUICK)
def build(event: Event, run: Run) -> str:
    effect(event, run)
    return "built"


@on("issues", actions=["opened"], time_limit=LIMIT, backoff=QUICK)
def label(event: Event, run: Run) -> str:
    effect(event, run)
    return "labelled"


@on("issues", actions=["opened"], queue="team", time_limit=LIMIT, backoff=QUICK)
def greet(event: Event, run: Run) -> str:
    effect(event, run)
    return "greeted"


@on("release", time_limit=LIMIT, max_attempts=5, backoff=QUICK)
def announce(event: Event, run: Run) -> str:
    """Fail at the first run, as when the other side is away."""
    if run.attempt == 1:
        leave_a_mark(event, run.attempt, "begun")
        raise ConnectionError("the other side is away")
    effect(event, run)
    return "announced"


@on("deployment", queue="team", time_limit=LIMIT, max_attempts=5, backoff=QUICK)
def deploy(event: Event, run: Run) -> str:
    """Ask for later at the first run, as when GitHub limits the rate."""
    if run.attempt == 1:
        leave_a_mark(event, run.attempt, "begun")
        raise RetryLater("rate limited", after=0.5)
    effect(event, run)
    return "deployed"


@on("check_run", queue="team", time_limit=30, backoff=QUICK)
def check_for_long(event: Event, run: Run) -> str:
    effect(event, run)
    return "checked"


@on("check_suite", actions=["requested"], queue="team", time_limit=HOLD_LIMIT, max_attempts=20, backoff=QUICK)
def hold_the_child(event: Event, run: Run) -> str:
    """Run until the test lets go."""
    leave_a_mark(event, run.attempt, "begun")
    while not Path(os.environ["TRIAL_EFFECTS"] + LET_GO).exists():
        time.sleep(LOOK_SECONDS)
    leave_a_mark(event, run.attempt, "done")
    return "let go"


@on("check_suite", actions=["completed"], queue="team", time_limit=LIMIT, max_attempts=1, backoff=QUICK)
def wait_behind(event: Event, run: Run) -> str:
    effect(event, run)
    return "it was its turn"


# --- Poison: whatever these are given, their jobs end dead -----------------------------------------------------------


@on("repository_dispatch", actions=["exit"], queue="team", time_limit=POISON_LIMIT, max_attempts=3, backoff=QUICK)
def exit_at_once(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    os._exit(1)


@on("repository_dispatch", actions=["memory"], queue="team", time_limit=LIMIT, max_attempts=3, backoff=QUICK)
def raise_memory_error(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    raise MemoryError


@on("repository_dispatch", actions=["hoard"], queue="team", time_limit=LIMIT, max_attempts=2, backoff=QUICK)
def hoard(event: Event, run: Run) -> str:
    """Take memory until there is no more to be had, or until it is plain that nobody stops it."""
    leave_a_mark(event, run.attempt, "begun")
    held = [bytearray(50 * 2**20) for _ in range(HOARD_MB // 50)]
    return f"nobody stopped it at {len(held) * 50} MB"


@on("repository_dispatch", actions=["hang"], queue="team", time_limit=POISON_LIMIT, max_attempts=2, backoff=QUICK)
def hang_in_python(event: Event, run: Run) -> None:
    """Run past both limits."""
    leave_a_mark(event, run.attempt, "begun")
    swallow_for(60, BaseException, event, run)


@on("repository_dispatch", actions=["deaf"], queue="team", time_limit=POISON_LIMIT, max_attempts=2, backoff=QUICK)
def hang_in_c(event: Event, run: Run) -> None:
    """Block in C with every signal blocked: neither limit reaches it, and only SIGKILL ends it."""
    leave_a_mark(event, run.attempt, "begun")
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(60)  # PyDLL keeps the interpreter's lock, as an extension that never lets go does.


@on(
    "repository_dispatch",
    actions=["swallow"],
    queue="team",
    time_limit=2,
    soft_time_limit=1,
    max_attempts=2,
    backoff=QUICK,
)
def swallow_the_soft_limit(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    swallow_for(60, Exception, event, run)


@on("repository_dispatch", actions=["unstorable"], queue="team", time_limit=LIMIT, max_attempts=2, backoff=QUICK)
def return_the_unstorable(event: Event, run: Run) -> str:
    """Return what the case has told the database to refuse."""
    leave_a_mark(event, run.attempt, "begun")
    return UNSTORABLE
