"""Whether a worker is ready, and whether it is live: decided from its vital signs, without I/O.

If a liveness probe fails, Kubernetes restarts the worker, and the runs of all its children are interrupted. So the
probe fails only if the worker is certainly stuck by its own fault. There are two such faults:

- *Its loop stands still.* It has not turned for HOOKLINE_STALLED_SECONDS, and the broker answers. While the broker does
  not answer, the loop may be waiting for it. After the connection was lost, Celery waits up to half a minute
  between two tries, so after an outage the worker gets RECONNECT_SECONDS to connect.
- *It makes no progress.* It has taken no job for HOOKLINE_STALLED_SECONDS, although a child is free, a job has been due
  for as long, there are messages for it, and broker and database answer. A job that becomes due after a long calm is
  no such reason, nor is one that an operator has paused.

A fault must be found CONFIRMATIONS times in a row. A worker that is stopping is always live: its loop has ended, and it
waits for its handlers. A worker that consumes from no queue because an operator wants so is always live, too.

A worker that starts has not consumed yet. While the broker gives no answer, its startup probe succeeds: a restart would
not bring the broker back. When the broker answers, the probe fails until the worker consumes.
"""

from dataclasses import dataclass
from enum import Enum

from workers.probes.vital_signs import VitalSigns

FRESH_SECONDS = 5.0
"""The loop turns at least once a second. A worker whose last heartbeat is older than this is not consuming."""
RECONNECT_SECONDS = 60.0
CONFIRMATIONS = 2
NOT_CONNECTED = "not connected to the broker"


class Check(Enum):
    """What is to be checked by asking broker and inbox."""

    NONE = "none"
    START = "start"
    LOOP = "loop"
    PROGRESS = "progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What broker and inbox answered. None: no answer, or not asked, since the answer was not needed."""

    broker_messages: int | None
    """Messages that wait on the broker in the worker's queues."""
    due_seconds: float | None
    """For how long a job of the worker's queues could have been claimed; None too if none can: no job waits, or what
    waits is paused."""


def unready(signs: VitalSigns | None, *, now: float, is_stopping: bool) -> list[str]:
    """Return why the worker takes no jobs now."""
    if is_stopping or (signs and signs.is_ending):
        return ["stopping"]
    if signs is None or not signs.is_connected:
        return [NOT_CONNECTED]
    if _stands_still(signs, now=now, for_seconds=FRESH_SECONDS):
        return [f"its loop has not turned for {now - signs.heartbeat_at:.0f} s"]
    return [] if signs.is_consuming else ["not consuming from all of its queues"]


def needed_check(signs: VitalSigns | None, *, now: float, is_stopping: bool, stalled_seconds: float) -> Check:
    """Return what is to be checked, if anything."""
    if signs is None or is_stopping or signs.is_ending:
        return Check.NONE
    if _stands_still(signs, now=now, for_seconds=stalled_seconds):
        return Check.LOOP
    if not signs.has_consumed and _stands_still(signs, now=now, for_seconds=FRESH_SECONDS):
        return Check.START
    if signs.is_consuming and signs.busy < signs.processes and now - signs.progress_at > stalled_seconds:
        return Check.PROGRESS
    return Check.NONE


def _stands_still(signs: VitalSigns, *, now: float, for_seconds: float) -> bool:
    """Tell whether the loop has not turned for so long, although it had no reason to wait.

    On filesystem:// the loop waits while no child is free; a thread continues to write the signs.
    """
    waits_for_a_child = now - signs.seen_at <= for_seconds and signs.busy >= signs.processes > 0
    return now - signs.heartbeat_at > for_seconds and not waits_for_a_child


class Liveness:
    """Keeps what the checks have found so far. `now` is always the machine's monotonic clock."""

    def __init__(self, *, stalled_seconds: float) -> None:
        self._stalled_seconds = stalled_seconds
        self._found = 0
        self._broker_answers_since: float | None = None
        self.faults: list[str] = []
        """Why the worker should be restarted."""
        self.is_broker_silent = False
        """Whether the broker did not answer when asked last."""

    def clear(self) -> None:
        """Note that there is nothing to check."""
        self._found, self._broker_answers_since, self.faults = 0, None, []
        self.is_broker_silent = False

    def decide(self, reason: Check, signs: VitalSigns, answers: Answers, *, now: float) -> None:
        """Decide by these answers whether the worker has a fault."""
        if answers.broker_messages is None:
            self.clear()
            self.is_broker_silent = True
            return
        self.is_broker_silent = False
        if self._broker_answers_since is None:
            self._broker_answers_since = now
        if reason is Check.LOOP:
            since = now - self._broker_answers_since
            is_found = signs.is_connected or since > RECONNECT_SECONDS
            fault = f"its loop has not turned for {now - signs.heartbeat_at:.0f} s, and the broker answers"
        elif reason is Check.START:
            is_found, fault = False, ""  # The startup probe's failureThreshold decides.
        else:
            is_due = answers.due_seconds is not None and answers.due_seconds > self._stalled_seconds
            is_found = is_due and answers.broker_messages + signs.unstarted > 0
            fault = f"it has taken no job for {now - signs.progress_at:.0f} s, with a process free and jobs due"
        self._found = self._found + 1 if is_found else 0
        self.faults = [fault] if self._found >= CONFIRMATIONS else []
