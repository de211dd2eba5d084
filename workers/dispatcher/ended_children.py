"""What a child's end means for the run that it cut off. Values in, values out.

A child that exits or crashes has ended by its run's fault. One that is killed alone is taken to be killed for what its
run did. Either way the run counts as an attempt, so that a job that kills its process is dead after `max_attempts`.
Where a child was killed in every place of the pool at once, the runs are not at fault, and are recorded as lost. A
child that ended by plan, crashed or reached its hard limit shows that not all were killed. So each run is decided on a
moment after its child's end: until then other children may be found to have ended, too. A run that is killed with its
child at the end of the worker's stop is lost as well: its time was up, whatever it did with it.
"""

import re
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from billiard.common import human_status

from webhooks.states import AttemptOutcome
from workers.runs.messages import ChildEnded

SETTLE_SECONDS = 1.0
"""How long after a child's end its run is decided on."""
AT_ONCE_SECONDS = 3.0
"""A child counts as killed together with another if it was killed no longer than this before the other."""
_OWN_END = re.compile(r"exitcode [1-9]|signal \d+ \(SIG(SEGV|BUS|ABRT|ILL|FPE|SYS|TRAP|XCPU)\)")
"""Ends of a process that no killer from outside produces: it has exited by itself, or crashed."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """A run whose process has ended before it could say how the run ended."""

    job_id: int
    attempt: int
    pid: int
    began_at: float
    ended_at: float
    kind: AttemptOutcome
    reason: str


class EndedChildren:
    """What is known of the children that have ended lately. `now` is the machine's monotonic clock."""

    def __init__(self, places: int, *, is_stopping: Callable[[], bool] = lambda: False) -> None:
        self._places, self._is_stopping = places, is_stopping
        self._undecided: deque[tuple[float, ChildEnded]] = deque()
        self._decided: list[CutOff] = []
        self._killed_at: dict[int, float] = {}
        """When in each place of the pool a child was last found killed from outside."""

    def add(self, child: ChildEnded, *, now: float) -> None:
        """Note a child's end, and the run that it has cut off, if any."""
        if child.exit_code and not child.has_reached_limit and not _OWN_END.search(human_status(child.exit_code)):
            self._killed_at[child.place] = now
        if child.running is not None:
            self._undecided.append((now, child))

    def take_decided(self, *, now: float, at_once: bool = False) -> list[CutOff]:
        """Return the runs that can be decided on now, all of them if it is to be at once. They are forgotten here."""
        decided, self._decided = self._decided, []
        while self._undecided and (at_once or now - self._undecided[0][0] >= SETTLE_SECONDS):
            decided.append(self._decide(*self._undecided.popleft()))
        return decided

    def put_back(self, runs: Sequence[CutOff]) -> None:
        """Take runs back that could not be recorded."""
        self._decided += runs

    def is_empty(self) -> bool:
        return not self._undecided and not self._decided

    def known(self) -> set[tuple[int, int]]:
        """Return (job, attempt) of each run that is still to be recorded."""
        undecided = {(child.running.job_id, child.running.attempt) for _, child in self._undecided if child.running}
        return undecided | {(run.job_id, run.attempt) for run in self._decided}

    def _decide(self, seen_at: float, child: ChildEnded) -> CutOff:
        running = child.running
        assert running is not None
        if child.has_reached_limit:
            limit = running.hard_limit_at - running.began_at
            kind = AttemptOutcome.HARD_LIMIT
            reason = f"The hard time limit of {limit:g} s was reached, and the process was killed."
        else:
            kind = AttemptOutcome.CRASHED
            reason = f"The process ended in mid-run: {human_status(child.exit_code)}."
            if self._is_stopping() and child.exit_code == -signal.SIGKILL:
                kind, reason = AttemptOutcome.LOST, f"The worker stopped and could not wait longer. {reason}"
            elif self._were_all_killed(seen_at, child):
                kind, reason = AttemptOutcome.LOST, f"All processes of the worker ended at once. {reason}"
        return CutOff(running.job_id, running.attempt, child.pid, running.began_at, seen_at, kind, reason)

    def _were_all_killed(self, seen_at: float, child: ChildEnded) -> bool:
        killed = [at for at in self._killed_at.values() if at >= seen_at - AT_ONCE_SECONDS]
        return not _OWN_END.search(human_status(child.exit_code)) and 1 < self._places <= len(killed)
