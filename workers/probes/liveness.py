"""Whether a worker is ready, and whether it is alive: decided from what is known of it, without I/O.

A liveness probe that fails has the worker restarted, and with it the jobs of all its children cut off. So a worker is
live unless it is certain that it is stuck, and that it is nobody else's fault:

- *its loop stands still* for as long as is allowed (HOOKLINE_STALLED_SECONDS), although the broker answers: while the
  broker does not, the loop may well be waiting for it. Where the connection is lost, Celery waits up to half a minute
  between its tries, so a broker that has come back gets RECONNECT_SECONDS.
- *it makes no progress*: a child is free, messages of due jobs are there for it, broker and database answer, and it has
  taken none for as long as is allowed.

Either must be found CONFIRMATIONS times in a row. A worker that is stopping is always live: its loop has ended, and
what it waits for is its handlers. So is one that is told by an operator to consume from no queue.

One that has not consumed yet is held for a while only to the broker's answer: while it gives none, the start is not the
worker's to end, and a startup probe that failed would restart it for as long as the outage lasts.
"""

from dataclasses import dataclass
from enum import Enum

from workers.probes.vital_signs import VitalSigns

FRESH_SECONDS = 5.0
"""The loop turns at least once a second; older than this, it is not consuming, whatever it said last."""
RECONNECT_SECONDS = 60.0
CONFIRMATIONS = 2
NOT_CONNECTED = "not connected to the broker"


class Check(Enum):
    """What gives reason to ask further."""

    NONE = "none"
    START = "start"
    LOOP = "loop"
    PROGRESS = "progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What broker and inbox said when asked. None is "does not answer", or not asked for want of need."""

    broker_messages: int | None
    """Messages that wait on the broker in the worker's queues."""
    has_due_jobs: bool | None
    """Whether the inbox holds jobs of its queues that a worker could take, published or due to be."""


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
    """Return whether there is a reason to ask broker and inbox, and of what kind."""
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
    """Tell whether the loop has not turned for so long, and has no reason of its own.

    On filesystem:// it waits where no child is free, while a thread goes on to say what is seen.
    """
    waits_for_a_child = now - signs.seen_at <= for_seconds and signs.busy >= signs.processes > 0
    return now - signs.heartbeat_at > for_seconds and not waits_for_a_child


class Liveness:
    """Keeps what was found from one question to the next. `now` is the machine's monotonic clock throughout."""

    def __init__(self) -> None:
        self._found = 0
        self._broker_answers_since: float | None = None
        self.faults: list[str] = []
        """Why the worker should be restarted."""
        self.is_broker_silent = False
        """Whether the broker did not answer when asked last."""

    def clear(self) -> None:
        """Note that there is nothing to doubt."""
        self._found, self._broker_answers_since, self.faults = 0, None, []
        self.is_broker_silent = False

    def decide(self, reason: Check, signs: VitalSigns, answers: Answers, *, now: float) -> None:
        """Take what was answered into account."""
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
            is_found, fault = False, ""  # The startup probe's own patience ends it.
        else:
            is_found = bool(answers.has_due_jobs) and answers.broker_messages + signs.unstarted > 0
            fault = f"it has taken no job for {now - signs.progress_at:.0f} s, with a process free and jobs due"
        self._found = self._found + 1 if is_found else 0
        self.faults = [fault] if self._found >= CONFIRMATIONS else []
