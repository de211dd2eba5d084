"""A child's turn: for one message it takes jobs from the dispatcher, runs them, and says how they ended.

A message says that there is work; which job, the dispatcher decides. The child keeps each outcome until the dispatcher
has recorded it: to a new dispatcher it says all of them again.
"""

import logging
import os
import socket
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial

from billiard import current_process
from django.db import connections
from msgspec.structs import replace

from webhooks import running_job
from webhooks.destination_handlers import destination_of
from webhooks.github_api.runs import ApiOfRun
from webhooks.inbox.claimed_event import event_of
from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.inbox.destinations.running import forwarded_of, subscription_of_run
from webhooks.inbox.job_log import job_fields
from webhooks.inbox.outcomes import Outcome
from webhooks.replay_queues import is_replay_queue
from webhooks.states import AttemptOutcome
from webhooks.subscriptions.event import Run
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Subscription, Subscriptions
from webhooks.traces.spans import RunOf, RunSpan, spans
from workers.processes.descendants import end_processes, is_retired, retire
from workers.processes.recycling import has_had_enough
from workers.runs import channels
from workers.runs.channels import Pair
from workers.runs.handler import HandlerWindow, run_handler
from workers.runs.messages import Declined, Entered, Give, Hello, Leave, RunEnded
from workers.runs.slots import Slots
from workers.runs.stacks import Stacks
from workers.stopping.flag import is_stopping

WITHOUT_ERROR = (AttemptOutcome.SUCCEEDED, AttemptOutcome.RETRY_LATER, AttemptOutcome.HANDED_BACK)
INTERRUPTED = (AttemptOutcome.HARD_LIMIT, AttemptOutcome.HANDED_BACK)
"""Outcomes of a handler that was interrupted somewhere: its process is replaced."""

logger = logging.getLogger(__name__)


class Child:
    """This process, as the dispatcher sees it."""

    def __init__(self, place: int, end: socket.socket, slots: Slots, subscriptions: Subscriptions) -> None:
        self._place, self._end, self._slots, self._subscriptions = place, end, slots, subscriptions
        self._pid = os.getpid()
        self._number = 0
        self._unrecorded: list[tuple[RunEnded, ClaimedJob]] = []

    def take_jobs(self, queue: str) -> str:
        """Run jobs until the dispatcher says that it is enough; return how many, in words."""
        window = HandlerWindow()
        self._slots.enter(self._place)
        try:
            return self._take_jobs(queue, window)
        except BaseException:
            # Of our own code, as where a handler has left no memory. This child has to end, so that the dispatcher
            # learns what becomes of its jobs: the slot tells which of them had begun.
            retire()
            raise
        finally:
            self._slots.leave(self._place)
            window.leave()

    def _take_jobs(self, queue: str, window: HandlerWindow) -> str:
        first = self._number
        channels.send(self._end, Entered(self._pid, queue))
        while True:
            message = channels.receive(self._end)
            if isinstance(message, (Give, Leave)) and message.pid != self._pid:
                continue  # It was for the child that was in this place before.
            if isinstance(message, Leave):
                self._owe([])
                return f"{self._number - first} jobs"
            if isinstance(message, Hello):
                for ended, job in self._unrecorded:
                    channels.send(self._end, replace(ended, job=job))
                # Last: whoever hears it has heard all that this child knows.
                channels.send(self._end, Entered(self._pid, queue))
            elif isinstance(message, Give):
                self._owe([owed for owed in self._unrecorded if owed[0].number > message.recorded])
                if is_stopping() or is_retired() or time.monotonic() > message.begins_by:
                    channels.send(self._end, Declined(message.job))
                else:
                    self._run(message.job, window)

    def _run(self, job: ClaimedJob, window: HandlerWindow) -> None:
        subscription = self._subscriptions.get(job.handler)
        if destination_of(job.handler):
            subscription = subscription_of_run(job.handler)
        assert subscription is not None, "Only jobs of installed handlers are claimed."
        running = self._slots.begin(
            self._place, job.pk, job.attempt, pid=self._pid,
            soft_limit=subscription.soft_time_limit, hard_limit=subscription.time_limit,
        )  # fmt: skip
        with running_job.running(job_fields(job)):
            outcome = self._traced(subscription, job, window.of(running), until=running.soft_limit_at)
            if has_had_enough() or outcome.kind in INTERRUPTED:
                retire()
        self._number += 1
        ended = RunEnded(
            number=self._number,
            job_id=job.pk,
            attempt=job.attempt,
            job=None,
            outcome=outcome,
            pid=self._pid,
            began_at=running.began_at,
            ended_at=time.monotonic(),
            is_last=is_retired() or is_stopping(),
        )
        self._owe([*self._unrecorded, (ended, job._replace(body=None))])
        # First the outcome: if the process ended in between, the run would else count as not begun.
        channels.send(self._end, ended)
        self._slots.end(self._place)

    def _owe(self, unrecorded: list[tuple[RunEnded, ClaimedJob]]) -> None:
        if unrecorded != self._unrecorded:
            self._unrecorded = unrecorded
            self._slots.owe(self._place, [(job.pk, job.attempt) for _, job in unrecorded])

    def _traced(self, subscription: Subscription, job: ClaimedJob, window: HandlerWindow, *, until: float) -> Outcome:
        api = ApiOfRun(job.source, job.installation_id, is_replay=is_replay_queue(job.queue), until=until)
        with run_span(job) as span:
            outcome = self._outcome(subscription, job, window, api)
            is_error = outcome.kind not in WITHOUT_ERROR
            span.ended(outcome.kind.value, is_error=is_error, message=outcome.message, traceback=outcome.traceback)
        return outcome if api.seen is None else outcome._replace(api=api.seen)

    def _outcome(self, subscription: Subscription, job: ClaimedJob, window: HandlerWindow, api: ApiOfRun) -> Outcome:
        run = Run(attempt=job.attempt, stopping=is_stopping, open_github=api.open)
        given = forwarded_of if destination_of(job.handler) else event_of
        outcome = run_handler(subscription, partial(given, job), run, window)
        if left := end_processes(at_once=outcome.kind in INTERRUPTED):
            logger.warning("processes killed that the handler had left; this child ends too", extra={"processes": left})
            retire()
        was_open = close_faulty_connections()
        if was_open and outcome.kind is AttemptOutcome.SUCCEEDED:
            message = "The handler left a transaction open; it is rolled back."
            return Outcome(kind=AttemptOutcome.FAILED, message=message)
        return outcome


def run_span(job: ClaimedJob) -> AbstractContextManager[RunSpan]:
    return spans().running(
        RunOf(
            traceparent=job.traceparent,
            guid=job.guid,
            delivery=job.delivery_id,
            job=job.pk,
            handler=job.handler,
            queue=job.queue,
            attempt=job.attempt,
            event=job.event,
            repository=job.repository,
        )
    )


_slots: Slots | None = None
_pairs: Sequence[Pair] = ()
_stacks: Stacks | None = None
_child: Child | None = None


def prepare(slots: Slots, pairs: Sequence[Pair], stacks: Stacks) -> None:
    """Note what the children of this process share with the dispatcher. Called once, before the first is forked."""
    global _slots, _pairs, _stacks
    _slots, _pairs, _stacks = slots, pairs, stacks


def take_jobs(queue: str) -> str:
    """Take a turn in this process, which is a child of a worker. `queue` is that of the message that began it."""
    global _child  # noqa: PLW0603  As above.
    if _child is None:
        assert _slots is not None and _stacks is not None, "The worker's step has prepared it."  # noqa: PT018
        place = current_process().index  # type: ignore[attr-defined]  # Billiard gives it to each child of a pool.
        if place >= len(_pairs):  # Remote control has let the pool grow.
            return "no place for one more child"
        _stacks.register(place)
        _child = Child(place, _pairs[place].child, _slots, installed_subscriptions())
    return _child.take_jobs(queue)


def close_faulty_connections() -> bool:
    """Close connections with an error or an open transaction of the handler; return whether a transaction was open."""
    was_open = False
    # Asked for after each run, though it costs: a handler may have added a database, or dropped a connection.
    for used in connections.all(initialized_only=True):
        if used.connection is None:
            continue
        if used.in_atomic_block or not used.autocommit:
            was_open = True
            # Reset it to the state of an unused connection: `close` alone would leave it inside the atomic block.
            used.in_atomic_block, used.needs_rollback = False, False
            used.savepoint_ids, used.atomic_blocks = [], []
            used.close()
        elif used.errors_occurred:
            used.close()
    return was_open
