"""Handlers with processes: some that end them, and some that leave them behind in every way there is."""

import multiprocessing
import os
import signal
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

from webhooks import Backoff, Event, GiveUp, RetryLater, Run, on

QUEUE = "trial"
QUICK = Backoff(first=0.2, longest=0.5)
kept: list[Any] = []


def leave_a_mark(event: Event, run: Run, word: str, pid: int = 0) -> None:
    with Path(os.environ["TRIAL_EFFECTS"]).open("a") as effects:
        effects.write(f"{event.idempotency_key} {run.attempt} {word} {pid or os.getpid()}\n")


def square(number: int) -> int:
    return number * number


def sleep_beside_another(written: str) -> None:
    """Sleep, as the parent of a process in a session of its own."""
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path(written).write_text(str(other.pid))
    time.sleep(600)


def start_sleepers(event: Event, run: Run) -> None:
    """Start processes that sleep for long, and write down which: a fork, a child of a fork, a session, an orphan."""
    fork = multiprocessing.get_context("fork")
    forked = fork.Process(target=time.sleep, args=(600,))
    forked.start()
    apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
    orphan = subprocess.run(
        ["sh", "-c", "sleep 600 >/dev/null & echo $!"], stdout=subprocess.PIPE, start_new_session=True, check=True
    )
    written = Path(f"{os.environ['TRIAL_EFFECTS']}-{os.getpid()}-{run.attempt}")
    parent = fork.Process(target=sleep_beside_another, args=(str(written),))
    parent.start()
    while not (written.exists() and written.read_text()):
        time.sleep(0.01)
    for pid in (forked.pid, apart.pid, int(orphan.stdout), parent.pid, int(written.read_text())):
        leave_a_mark(event, run, "started", pid or 0)
    leave_a_mark(event, run, "begun")


@on("repository_dispatch", actions=["compute"], queue=QUEUE, time_limit=30, max_attempts=1)
def compute(event: Event) -> str:
    """Compute in every kind of process, and leave none."""
    context = multiprocessing.get_context(event.payload["client_payload"]["method"])
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        of_executor = sum(executor.map(square, range(4)))
    with context.Pool(2) as pool:
        of_pool = sum(pool.map(square, range(4)))
    statuses: list[int | None] = []

    def start_one() -> None:
        one = context.Process(target=square, args=(1,))
        one.start()
        one.join()
        statuses.append(one.exitcode)

    thread = Thread(target=start_one)
    thread.start()
    thread.join()
    said = subprocess.run(["echo", "said"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{of_executor} {of_pool} {statuses} {said}"


@on("repository_dispatch", actions=["leave"], queue=QUEUE, time_limit=40, max_attempts=2, backoff=QUICK)
def leave_processes(event: Event, run: Run) -> str:
    start_sleepers(event, run)
    how = event.payload["client_payload"]["how"] if run.attempt == 1 else "return"
    if how == "raise":
        raise ValueError("no good")
    if how == "give-up":
        raise GiveUp("never")
    if how == "later":
        raise RetryLater("soon", after=0.1)
    if how == "exit":
        os._exit(1)
    if how == "sleep":
        time.sleep(39)
    return "left"


@on("repository_dispatch", actions=["soft"], queue=QUEUE, time_limit=30, soft_time_limit=2, max_attempts=1)
def overrun_the_soft_limit(event: Event, run: Run) -> None:
    start_sleepers(event, run)
    time.sleep(29)


@on("repository_dispatch", actions=["hard"], queue=QUEUE, time_limit=3, soft_time_limit=2.5, max_attempts=1)
def overrun_the_hard_limit(event: Event, run: Run) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    start_sleepers(event, run)
    time.sleep(30)


@on("repository_dispatch", actions=["deaf"], queue=QUEUE, time_limit=3, soft_time_limit=2.5, max_attempts=1)
def hear_no_signal(event: Event, run: Run) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    start_sleepers(event, run)
    time.sleep(30)


@on("repository_dispatch", actions=["wait"], queue=QUEUE, time_limit=40, backoff=QUICK)
def wait_for_processes(event: Event, run: Run) -> str:
    """Have an executor sleep, which waits for its processes whatever is raised beside it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
        leave_a_mark(event, run, "started", executor.submit(os.getpid).result())
        seconds = float(event.payload["client_payload"]["seconds"]) if run.attempt == 1 else 0.0
        sleeper = executor.submit(time.sleep, seconds)
        leave_a_mark(event, run, "begun")
        sleeper.result()
    return "waited"


@on("repository_dispatch", actions=["keep"], queue=QUEUE, time_limit=30, max_attempts=1)
def keep_for_later(event: Event, run: Run) -> str:
    """Keep an executor or a pool for the runs to come."""
    context = multiprocessing.get_context("fork")
    is_pool = event.payload["client_payload"]["what"] == "pool"
    if not kept:
        kept.append(context.Pool(1) if is_pool else ProcessPoolExecutor(1, mp_context=context))
    leave_a_mark(event, run, "started", kept[0].apply(os.getpid) if is_pool else kept[0].submit(os.getpid).result())
    return "kept"


@on("repository_dispatch", actions=["fork"], queue=QUEUE, time_limit=30, max_attempts=1)
def fork_and_return(event: Event, run: Run) -> str:
    """Come out of the handler twice, as somebody does who forks and forgets to exit."""
    pid = os.fork()
    leave_a_mark(event, run, "forked")
    if pid:
        os.waitpid(pid, 0)
    return "parent" if pid else "child"


def count_users() -> None:
    from django.contrib.auth.models import User

    User.objects.count()


@on("repository_dispatch", actions=["query"], queue=QUEUE, time_limit=30, max_attempts=1)
def query_in_both(event: Event) -> str:
    """Use the database in this process and, meanwhile, in one that it forks."""
    from django.db import transaction

    with transaction.atomic():
        count_users()
        other = multiprocessing.get_context("fork").Process(target=count_users)
        other.start()
        other.join()
        count_users()
    return f"exit status {other.exitcode}"
