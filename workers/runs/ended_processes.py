"""Runs whose process ended in mid-run: seen by the worker's parent process, recorded by one of its children.

The parent must not touch the database. It sees a child end, and knows which message the child had taken. It waits a
moment, since other children may have been killed at the same time, and then has another child record the run. If the
parent has ended too, the job's lease runs out, and the relay records the run as lost.

If a child exits or crashes, its run is the cause. If only one child is killed, its run is taken for the cause. Either
way the run counts as an attempt, so that a job that kills its process is dead after `max_attempts`. If the children in
all places of the pool are killed at once, their runs are not the cause, and are recorded as lost. Children that ended
by plan, crashed or reached their hard limit do not count as killed.
"""

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from billiard.common import human_status
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback  # type: ignore[attr-defined]  # The stubs lack it.
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.bootsteps import StartStopStep
from celery.worker import request
from django.db import Error

from webhooks.inbox import database, transitions
from webhooks.inbox.outcomes import Outcome, failure_fingerprint
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Backoff
from workers.runs.pool_work import do_in_child
from workers.stopping.flag import is_stopping

TICK_SECONDS = 1.0
SETTLE_SECONDS = 1.0
"""How long after a child's end the outcome is decided: until then the parent may see that other children ended too."""
AT_ONCE_SECONDS = 3.0
"""A child counts as killed together with another if it was found killed no longer than this before the other."""
RECORD_SECONDS = 20.0
RECORD_TRIES = 5
"""How many children are asked to record the runs, if each of them ends before it has done so."""
_OWN_END = re.compile(r"exitcode [1-9]|signal \d+ \(SIG(SEGV|BUS|ABRT|ILL|FPE|SYS|TRAP|XCPU)\)")
"""How a process ends that was not killed from outside: it has exited by itself, or crashed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that was going on in a process that has ended."""

    job_id: int
    handler: str
    pid: int
    kind: AttemptOutcome
    reason: str


class RunRequest(request.Request):
    """A message as the parent keeps it while a child works on it. Celery reports the run's end to `on_failure`."""

    def on_failure(self, exc_info: ExceptionInfo, *args: Any, **kwargs: Any) -> None:
        super().on_failure(exc_info, *args, **kwargs)
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if _watch is None or self.worker_pid is None or not isinstance(error, (WorkerLostError, TimeLimitExceeded)):
            return
        kind, reason = outcome_of(error)
        _watch.saw(
            EndedRun(
                job_id=int(self.args[0]),
                handler=str(self.task_name),
                pid=int(self.worker_pid),
                kind=kind,
                reason=reason,
            )
        )


def outcome_of(error: WorkerLostError | TimeLimitExceeded) -> tuple[AttemptOutcome, str]:
    """Return the outcome that Celery's error amounts to, and the reason in a sentence."""
    if isinstance(error, TimeLimitExceeded):
        reason = f"The hard time limit of {error.args[0]:g} s was reached, and the process was killed."
        return AttemptOutcome.HARD_LIMIT, reason
    status = re.search(r"exited prematurely: (.+?)(?: Job: \d+)?\.$", str(error))
    return AttemptOutcome.CRASHED, f"The process ended in mid-run: {status[1] if status else error}."


class Watch(StartStopStep):
    """Watches the parent's children: a step of the Celery worker, with a timer of its own."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(self, worker: Any, **_options: Any) -> None:
        self._worker = worker
        self._ended: deque[tuple[float, EndedRun]] = deque()
        self._decided: deque[tuple[Sequence[EndedRun], int]] = deque()
        """Runs that a child is to record, and how many children have been asked to."""
        self._killed_at: dict[int, float] = {}
        """When in each place of the pool a child was last found to have been killed."""

    def start(self, worker: Any) -> None:
        global _watch  # noqa: PLW0603  Celery makes the requests, and has no room for more arguments.
        _watch = self
        pool = worker.pool._pool
        # Billiard calls this for each child that has ended, after it has read the exit status.
        pool.process_flush_queues = partial(self._found_ended, pool.process_flush_queues)
        worker.timer.call_repeatedly(TICK_SECONDS, self.tick)

    def saw(self, run: EndedRun) -> None:
        self._ended.append((time.monotonic(), run))

    def _found_ended(self, flush_queues: Callable[[Any], None], child: Any) -> None:
        """Note in which place of the pool a child was killed, unless this parent did so at its run's hard limit."""
        at_limit = {run.pid for _, run in list(self._ended) if run.kind is AttemptOutcome.HARD_LIMIT}
        if child.exitcode and not _OWN_END.search(human_status(child.exitcode)) and child.pid not in at_limit:
            self._killed_at[child.index] = time.monotonic()
        flush_queues(child)

    def tick(self) -> None:
        runs: list[EndedRun] = []
        while self._ended and time.monotonic() - self._ended[0][0] >= SETTLE_SECONDS:
            runs.append(self._decide(*self._ended.popleft()))
        if runs and is_stopping():  # The pool takes no more work.
            logger.warning("processes ended in mid-run; not recorded, the leases will end", extra={"runs": len(runs)})
        elif runs:
            logger.warning("processes ended in mid-run", extra={"runs": len(runs)})
            self._decided.append((runs, 0))
        for _ in range(len(self._decided)):
            self._hand_over(*self._decided.popleft())

    def _decide(self, seen_at: float, run: EndedRun) -> EndedRun:
        """Return the run as lost if its process and, at about that time, one in every place of the pool were killed."""
        children = self._worker.pool.num_processes
        killed = [at for at in list(self._killed_at.values()) if at >= seen_at - AT_ONCE_SECONDS]
        is_own_end = run.kind is not AttemptOutcome.CRASHED or _OWN_END.search(run.reason)
        if is_own_end or children == 1 or len(killed) < children:
            return run
        return replace(run, kind=AttemptOutcome.LOST, reason=f"All processes of the worker ended at once. {run.reason}")

    def _hand_over(self, runs: Sequence[EndedRun], tries: int) -> None:
        """Have a child record the runs; at the next tick another one, if that child itself ends meanwhile."""

        def again(_error: ExceptionInfo) -> None:
            if tries + 1 < RECORD_TRIES:
                self._decided.append((runs, tries + 1))

        do_in_child(
            self._worker, record_ended, runs, self._worker.hostname, timeout=RECORD_SECONDS, error_callback=again
        )


_watch: Watch | None = None


def record_ended(runs: Sequence[EndedRun], worker: str) -> None:
    """Record runs whose process has ended. A run that is not recorded here is lost when its lease ends."""
    for run in runs:
        try:
            database.run(partial(_record, run.job_id, run.handler, run.kind, run.reason, worker=worker, pid=run.pid))
        except Error as error:
            reason = f"the database {database.reason(error)}"
            logger.warning("ended run not recorded, its lease will end", extra={"job": run.job_id, "reason": reason})


def _record(job_id: int, handler: str, kind: AttemptOutcome, reason: str, *, worker: str, pid: int) -> None:
    subscription = installed_subscriptions().get(handler)
    outcome = Outcome(kind=kind, message=reason, fingerprint=failure_fingerprint(handler, kind.value, reason))
    backoff = subscription.backoff if subscription else Backoff()
    state = transitions.record_ended_process(job_id, outcome, worker=worker, pid=pid, backoff=backoff)
    if state is not None:
        extra = {"job": job_id, "handler": handler, "outcome": kind.value, "state": state.value}
        logger.warning("attempt ended with its process", extra={**extra, "reason": reason, "recorded_by": os.getpid()})
