"""What a worker says of itself, and does when people ask: on a thread of the dispatcher that nobody waits for.

The thread has the probes' connection to the database, not the one for jobs. While the database is not available, no
report is written, and nothing else follows from it.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from django.conf import settings

from webhooks.inbox import workers
from webhooks.inbox.committer import Committer, InboxUnavailableError
from webhooks.inbox.workers import REPORT_SECONDS, Report, RunningJob
from webhooks.models import WorkerReport, WorkerRequest
from webhooks.outage_log import OutageLog
from webhooks.threads import place_of, start_thread
from workers.probes.vital_signs import SharedSigns
from workers.processes.memory_use import MemoryUse
from workers.runs.slots import Running, Slots
from workers.runs.stacks import Stacks
from workers.stopping.flag import is_stopping

LOOK_SECONDS = 0.2
"""How often it looks whether the worker's state has changed: a look at memory."""
REQUESTS_SECONDS = 2.0
"""How often it looks what people ask: one query that an index answers."""
FAILED_SECONDS = 5.0
"""Pause after the database was not available."""
STOPS = "The worker stops after its current jobs."
ENDED = "This attempt does not run in the worker: it has ended, or has not begun yet."

State = WorkerReport.State
logger = logging.getLogger(__name__)


class SelfReport:
    """Reports while the dispatcher lives. `pid` is that of the worker's parent process."""

    def __init__(
        self,
        *,
        worker: str,
        pid: int,
        slots: Slots,
        stacks: Stacks,
        signs: SharedSigns,
        started_at_seconds: float,
        committer: Committer,
        signal_parent: Callable[[int, int], None] = os.kill,
    ) -> None:
        self._worker, self._pid, self._slots, self._stacks, self._signs = worker, pid, slots, stacks, signs
        self._started_at_seconds, self._committer, self._signal_parent = started_at_seconds, committer, signal_parent
        self._memory = MemoryUse(pid)
        self._handlers: Mapping[int, str] = {}
        self._reported: WorkerReport.State | None = None
        self._report_at = self._ask_at = self._failed_until = 0.0
        self._ends = threading.Event()
        self._failures = OutageLog(logger, "worker could not report")

    def start(self) -> None:
        self._thread = start_thread("self-report", self._run)

    def end(self, seconds: float) -> None:
        """Report the stop, and wait for that for so long at most."""
        self._ends.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._ends.wait(LOOK_SECONDS):
            self.look(now=time.monotonic())
        # A worker that ends without a stop was killed, or has failed: it is lost.
        if is_stopping():
            self._attempt(partial(self._report, State.STOPPED, time.monotonic()), now=time.monotonic())

    def look(self, *, now: float) -> None:
        """Report if it is time or the state has changed, and do what is asked."""
        if now < self._failed_until:
            return
        state = self._state()
        if state is not self._reported or now >= self._report_at:
            self._attempt(partial(self._report, state, now), now=now)
        if now >= self._ask_at and now >= self._failed_until:
            self._ask_at = now + REQUESTS_SECONDS
            self._attempt(self._do_what_is_asked, now=now)

    def _attempt(self, work: Callable[[], None], *, now: float) -> None:
        """Do it. No failure ends this thread, since with it the dispatcher would end."""
        try:
            work()
        except InboxUnavailableError:  # The committer has logged why.
            self._failed_until = now + FAILED_SECONDS
        except Exception as error:
            self._failures.failed(place_of(error))
            self._failed_until = now + FAILED_SECONDS

    def _state(self) -> WorkerReport.State:
        if is_stopping():
            return State.DRAINING
        signs = self._signs.read()
        return State.READY if signs is not None and signs.is_consuming else State.STARTING

    def _report(self, state: WorkerReport.State, now: float) -> None:
        running = self._slots.running()
        signs = self._signs.read()
        report = Report(
            worker=self._worker,
            release=settings.HOOKLINE_RELEASE,
            queues=signs.queues if signs else (),
            state=state,
            slots=self._slots.count,
            memory_bytes=None if state is State.STOPPED else self._memory.bytes(now=now),
            running=[self._running_job(run, now) for run in running],
            age_seconds=time.time() - self._started_at_seconds,
        )
        self._committer.run(partial(self._write, report))
        self._reported, self._report_at = state, now + REPORT_SECONDS

    def _write(self, report: Report) -> None:
        """Write the report with the handlers' names, which the slots do not have; of a known job it is not asked."""
        ids = {run.job for run in report.running}
        known = {job: handler for job, handler in self._handlers.items() if job in ids}
        if unknown := ids - known.keys():
            known |= workers.handlers_of(unknown)
        self._handlers = known
        workers.write(report.with_handlers(known))

    @staticmethod
    def _running_job(run: Running, now: float) -> RunningJob:
        seconds = round(max(0.0, now - run.began_at), 1)
        return RunningJob(job=run.job_id, attempt=run.attempt, handler="", pid=run.pid, seconds=seconds)

    # --- What people ask ------------------------------------------------------------------------------------------

    def _do_what_is_asked(self) -> None:
        for request in self._committer.run(partial(workers.open_requests, self._worker)):
            if request.kind == WorkerRequest.Kind.STOP:
                self._stop(request)
            else:
                self._answer(request, self._stack(request))

    def _answer(self, request: WorkerRequest, text: str) -> bool:
        return self._committer.run(partial(workers.answer, request, text))

    def _stop(self, request: WorkerRequest) -> None:
        """Stop as SIGTERM does. The answer first: a request that stays open would stop the worker's successor too."""
        if self._answer(request, STOPS) and not is_stopping() and os.getppid() == self._pid:
            logger.info("worker stops: it was asked to", extra={"asked_by": request.asked_by})
            self._signal_parent(self._pid, signal.SIGTERM)

    def _stack(self, request: WorkerRequest) -> str:
        place, running = self._place_of(request)
        if running is None:
            return ENDED
        stack = self._stacks.ask(place, running.pid)
        # If the run has ended meanwhile, the stack is that of something else.
        return stack if self._slots.read(place) == running else ENDED

    def _place_of(self, request: WorkerRequest) -> tuple[int, Running | None]:
        for place in range(self._slots.count):
            running = self._slots.read(place)
            if running is not None and (running.job_id, running.attempt) == (request.job_id, request.attempt):
                return place, running
        return 0, None
