"""One stop of one worker, as kubelet brings it about, and what the inbox says of it afterwards.

TERM goes to the main process alone. Once it has ended, or at the end of the grace, everything of its session is killed:
in a container the kernel does so when PID 1 is gone. Times are this machine's clock, which is also its database's.
"""

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.faults.fleet import Fleet, Member
from tests.faults.process_tree import session_of, signal_all

_RUNS = "SELECT outcome, started_at, finished_at FROM webhooks_attempt WHERE"
OF_ITSELF = ("succeeded", "failed", "retry_later", "gave_up", "handed_back")
"""The outcomes of a run that was not cut off."""
CUT_OFF = f"SELECT count(*) FROM webhooks_attempt WHERE outcome NOT IN {OF_ITSELF}"

Rows = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a worker has ended."""

    asked_at: datetime
    gone_at: datetime
    status: int
    was_killed: bool
    """Whether it was still there at the end of the grace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What became of a worker's runs at its stop."""

    status: int
    was_killed: bool
    gone_seconds: float
    """From the request until the main process was gone."""
    beyond_seconds: float
    """From the end of the last run, or the request if none went on, until it was gone."""
    runs: int
    """All that it had made."""
    busy: int
    """Runs under way at the request."""
    started_after: int
    last_start_seconds: float
    """How long after the request the last of these began."""
    left: int
    """Jobs that it still had claimed: neither recorded nor given back."""
    handed_back: int
    cut_off: int
    """Runs that have begun, and neither ended by themselves nor were handed back."""

    @property
    def is_planned(self) -> bool:
        """Whether the exit status says so, or TERM came before Python was there to hear it, and so before any run."""
        return self.status == 0 or (self.status == -signal.SIGTERM and not self.runs)


@dataclass(frozen=True, slots=True)
class _Run:
    outcome: str
    started_at: datetime
    finished_at: datetime | None

    def goes_on_at(self, moment: datetime) -> bool:
        return self.started_at <= moment and (self.finished_at is None or self.finished_at > moment)


def end(fleet: Fleet, member: Member, *, grace_seconds: float) -> Ending:
    """Stop a worker of a fleet and wait for its end. Its place stays empty."""
    fleet.expect_end(member)
    process, session = member.process, member.pid
    asked_at = datetime.now(UTC)
    process.send_signal(signal.SIGTERM)
    was_killed = False
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        was_killed = True
        signal_all([session, *session_of(session)], signal.SIGKILL)
        process.wait()
    gone_at = datetime.now(UTC)
    signal_all(session_of(session), signal.SIGKILL)
    return Ending(asked_at=asked_at, gone_at=gone_at, status=process.returncode, was_killed=was_killed)


def runs_of(member: Member) -> str:
    """Return the SQL condition of the attempts that a member's present process has made."""
    return f"worker LIKE 'worker-{member.pid}-%'"


def judge(ending: Ending, rows: Rows, *, attempts: str, claims: str) -> Stop:
    """Return what became of the runs of a worker that has ended: SQL conditions tell its attempts and its claims."""
    runs = [_Run(*row) for row in rows(f"{_RUNS} {attempts}")]
    ((left,),) = rows(f"SELECT count(*) FROM webhooks_job WHERE {claims}")
    after = [run.started_at for run in runs if run.started_at > ending.asked_at]
    ends = [run.finished_at for run in runs if run.finished_at and run.finished_at > ending.asked_at]
    return Stop(
        status=ending.status,
        was_killed=ending.was_killed,
        gone_seconds=(ending.gone_at - ending.asked_at).total_seconds(),
        beyond_seconds=(ending.gone_at - max([ending.asked_at, *ends])).total_seconds(),
        runs=len(runs),
        busy=sum(run.goes_on_at(ending.asked_at) for run in runs),
        started_after=len(after),
        last_start_seconds=(max([ending.asked_at, *after]) - ending.asked_at).total_seconds(),
        left=left,
        handed_back=sum(run.outcome == "handed_back" for run in runs),
        cut_off=sum(run.outcome not in OF_ITSELF for run in runs),
    )
