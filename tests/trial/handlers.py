"""One handler for each way to end. All of them take `repository_dispatch`, told apart by the action."""

import os
import sys
import time
from pathlib import Path

from webhooks.event import Event, GiveUp, RetryLater, Run
from webhooks.subscriptions import Backoff, on

QUICK = Backoff(first=0.2, longest=0.5)


def leave_a_mark(event: Event, attempt: int, word: str) -> None:
    line = f"{event.idempotency_key} {attempt} {word} {os.getpid()}\n"
    with Path(os.environ["TRIAL_EFFECTS"]).open("a") as effects:
        effects.write(line)


@on("repository_dispatch", actions=["work"], queue="trial", time_limit=8, backoff=QUICK)
def work(event: Event, run: Run) -> str:
    """Sleep for as long as the payload says."""
    leave_a_mark(event, run.attempt, "begun")
    time.sleep(float(event.payload["client_payload"].get("seconds", 0)))
    leave_a_mark(event, run.attempt, "done")
    return "worked"


@on("repository_dispatch", actions=["fail"], queue="trial", time_limit=10, max_attempts=3, backoff=QUICK)
def fail(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    raise ValueError("no good")


@on("repository_dispatch", actions=["fail-once"], queue="trial", time_limit=10, max_attempts=3, backoff=QUICK)
def fail_once(event: Event, run: Run) -> str:
    leave_a_mark(event, run.attempt, "begun")
    if run.attempt == 1:
        raise ConnectionError("the other side is away")
    return "second time lucky"


@on("repository_dispatch", actions=["give-up"], queue="trial", time_limit=10, backoff=QUICK)
def give_up(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    raise GiveUp("this repository is archived")


@on("repository_dispatch", actions=["later"], queue="trial", time_limit=10, max_attempts=1, backoff=QUICK)
def later(event: Event, run: Run) -> str:
    leave_a_mark(event, run.attempt, "begun")
    if run.attempt < 3:
        raise RetryLater("rate limited", after=0.3)
    return "at last"


@on("repository_dispatch", actions=["soft"], queue="trial", time_limit=8, soft_time_limit=1, max_attempts=1)
def overrun_the_soft_limit(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    time.sleep(60)


@on("repository_dispatch", actions=["hard"], queue="trial", time_limit=2, soft_time_limit=1, max_attempts=1)
def overrun_the_hard_limit(event: Event, run: Run) -> None:
    """Swallow the soft limit, as a broad except in a handler would."""
    leave_a_mark(event, run.attempt, "begun")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            time.sleep(60)
        except Exception:
            leave_a_mark(event, run.attempt, "swallowed")


@on("repository_dispatch", actions=["exit"], queue="trial", time_limit=10, max_attempts=2, backoff=QUICK)
def leave_the_process(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    sys.exit(3)


@on("repository_dispatch", actions=["memory"], queue="trial", time_limit=10, max_attempts=2, backoff=QUICK)
def run_out_of_memory(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    raise MemoryError


@on("repository_dispatch", actions=["die"], queue="trial", time_limit=1, soft_time_limit=0.5, max_attempts=1)
def kill_the_process(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    os._exit(1)
