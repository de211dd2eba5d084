"""One handler for each way to end. All of them take `repository_dispatch`, told apart by the action."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from webhooks import Backoff, Event, GiveUp, RetryLater, Run, on

QUICK = Backoff(first=0.2, longest=0.5)


def leave_a_mark(event: Event, attempt: int, word: str) -> None:
    line = f"{event.idempotency_key} {attempt} {word} {os.getpid()}\n"
    with Path(os.environ["TRIAL_EFFECTS"]).open("a") as effects:
        effects.write(line)


def swallow_for(seconds: float, swallowed: type[BaseException], event: Event, run: Run) -> None:
    """Sleep on in spite of what is raised, as a broad except around a blocking call does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            time.sleep(seconds)
        except swallowed:
            leave_a_mark(event, run.attempt, "swallowed")


def read_and_write() -> None:
    """Ask Django's ORM for this and that, as handlers of an application do."""
    # Not above: the fault suite reads this module where Django is not set up.
    from django.contrib.auth.models import Group, Permission
    from django.db import transaction
    from django.db.models import Count

    with transaction.atomic():
        group, _ = Group.objects.update_or_create(name=f"of {os.getpid()}")
        group.permissions.set(Permission.objects.filter(content_type__app_label="webhooks"))
        permissions = Permission.objects.select_related("content_type").filter(group=group).order_by("codename")
        list(permissions.annotate(groups=Count("group")).exclude(content_type__model__startswith="a"))


@on("repository_dispatch", actions=["work"], queue="trial", time_limit=8, backoff=QUICK)
def work(event: Event, run: Run) -> str:
    """Sleep for as long as the payload says, and use Django's ORM if it says so."""
    leave_a_mark(event, run.attempt, "begun")
    told = event.payload["client_payload"]
    time.sleep(float(told.get("seconds", 0)))
    if told.get("orm"):
        read_and_write()
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
    """Swallow the soft limit."""
    leave_a_mark(event, run.attempt, "begun")
    swallow_for(60, Exception, event, run)


@on("repository_dispatch", actions=["exit"], queue="trial", time_limit=10, max_attempts=2, backoff=QUICK)
def leave_the_process(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    sys.exit(3)


@on("repository_dispatch", actions=["memory"], queue="trial", time_limit=10, max_attempts=2, backoff=QUICK)
def run_out_of_memory(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    raise MemoryError


@on("repository_dispatch", actions=["die"], queue="trial", time_limit=60, max_attempts=2, backoff=QUICK)
def kill_the_process(event: Event, run: Run) -> None:
    leave_a_mark(event, run.attempt, "begun")
    os._exit(1)


@on("repository_dispatch", actions=["deaf"], queue="trial", time_limit=2, soft_time_limit=1, max_attempts=1)
def hear_no_signal(event: Event, run: Run) -> None:
    """Overrun both limits where no signal gets through, as a call into C may."""
    leave_a_mark(event, run.attempt, "begun")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    time.sleep(60)


@on("repository_dispatch", actions=["hoard"], queue="trial", time_limit=30, max_attempts=2, backoff=QUICK)
def hoard(event: Event, run: Run) -> None:
    """Ask for more memory than any child may have."""
    leave_a_mark(event, run.attempt, "begun")
    bytearray(int(event.payload["client_payload"]["megabytes"]) * 1024 * 1024)


@on("repository_dispatch", actions=["watch"], queue="trial", time_limit=60, backoff=QUICK)
def watch(event: Event, run: Run) -> str:
    """Run until the worker is to stop, and for as long after that as the payload says."""
    leave_a_mark(event, run.attempt, "begun")
    while not run.stopping():
        time.sleep(0.05)
    time.sleep(float(event.payload["client_payload"].get("seconds", 0)))
    return "told to stop"


@on("repository_dispatch", actions=["in-c"], queue="trial", time_limit=60, backoff=QUICK)
def stay_in_c(event: Event, run: Run) -> str:
    """Stay in a call into C that runs no signal handler of Python's and lets no other thread run."""
    leave_a_mark(event, run.attempt, "begun")
    left = int(event.payload["client_payload"]["seconds"])
    while left:
        left = ctypes.PyDLL(None).sleep(left)  # How many seconds were left when a signal came; else 0.
    return "slept"


@on("repository_dispatch", actions=["stubborn"], queue="trial", time_limit=60, backoff=QUICK)
def swallow_the_stop(event: Event, run: Run) -> None:
    """Go on, whatever is raised."""
    leave_a_mark(event, run.attempt, "begun")
    swallow_for(55, BaseException, event, run)
