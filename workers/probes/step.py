"""Writes once a second what the worker's parent process knows of itself: a step of the Celery worker.

It writes from the consumer's own loop, into memory that the parent shares with the dispatcher (vital_signs.py), which
serves the probes from it and asks broker and inbox (process.py): also while the parent stands still.
"""

import time
from typing import Any

from celery import bootsteps
from celery.worker import state

from workers.probes.vital_signs import SharedSigns, VitalSigns
from workers.stopping.lifetime import stops_at

HEARTBEAT_SECONDS = 1.0
RUNNING = 1
"""The state of a blueprint, in Celery's numbers."""

signs = SharedSigns()
"""Made before any process is forked."""


class SignsStep(bootsteps.StartStopStep):
    """Writes the parent's vital signs."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **_options: Any) -> None:
        self._worker = worker
        self._accepted = 0
        self._heartbeat_at = self._progress_at = time.monotonic()
        self._has_consumed = False
        self._is_heartbeat_due = False

    def create(self, worker: Any) -> None:
        global _step  # noqa: PLW0603  Celery makes the consumer's steps, and has no room for more arguments.
        _step = self
        worker.app.steps["consumer"].add(Connection)
        # Only the queues, until its loop turns: that is after its first connection.
        signs.write(VitalSigns(seen_at=self._heartbeat_at, heartbeat_at=self._heartbeat_at, queues=self._queues()))

    def start(self, worker: Any) -> None:
        worker.timer.call_repeatedly(HEARTBEAT_SECONDS, self._tick)

    def close(self, worker: Any) -> None:
        """Note that the loop has ended: no more heartbeats come, and none are expected."""
        signs.write(self._look(is_ending=True))

    def lost_connection(self) -> None:
        signs.write(self._look(is_connected=False))

    def _tick(self) -> None:
        if self._worker.hub is not None:  # The timer is the loop's own.
            self._note_heartbeat()
        elif not self._is_heartbeat_due:  # The timer has a thread, but the heartbeat must come from the loop.
            self._is_heartbeat_due = True
            self._worker.consumer.call_soon(self._note_heartbeat)
        signs.write(self._look())

    def _note_heartbeat(self) -> None:
        self._is_heartbeat_due = False
        self._heartbeat_at = time.monotonic()

    def _look(self, **known: bool) -> VitalSigns:
        """Return the parent's vital signs."""
        now = time.monotonic()
        queues = self._queues()
        processes, busy = self._worker.pool.num_processes, len(state.active_requests)
        facts = {"is_connected": self._is_connected(), "is_ending": self._is_ending()} | known
        is_consuming = facts["is_connected"] and self._consumes_from(queues)
        if not is_consuming or busy >= processes or state.all_total_count[0] != self._accepted:
            self._progress_at = now
        self._accepted = state.all_total_count[0]
        self._has_consumed |= is_consuming
        return VitalSigns(
            seen_at=now,
            heartbeat_at=self._heartbeat_at,
            is_consuming=is_consuming,
            has_consumed=self._has_consumed,
            stops_at_seconds=stops_at(),
            processes=processes,
            busy=busy,
            unstarted=max(0, len(state.reserved_requests) - busy),
            progress_at=self._progress_at,
            queues=queues,
            **facts,
        )

    def _queues(self) -> tuple[str, ...]:
        return tuple(self._worker.app.amqp.queues.consume_from)

    def _is_connected(self) -> bool:
        connection = self._worker.consumer.connection
        return connection is not None and bool(connection.connected)

    def _consumes_from(self, queues: tuple[str, ...]) -> bool:
        consumer = self._worker.consumer.task_consumer
        return consumer is not None and bool(queues) and all(map(consumer.consuming_from, queues))

    def _is_ending(self) -> bool:
        """Tell whether any part of Celery was asked to stop: by a signal, by remote control, by a step."""
        flags = (state.should_stop, state.should_terminate)
        return self._worker.blueprint.state != RUNNING or any(flag not in (None, False) for flag in flags)


_step: SignsStep | None = None


class Connection(bootsteps.StartStopStep):
    """A step of the consumer. Celery stops the steps when the connection is lost, so this notices it at once."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Do nothing: the loop's next heartbeat shows that it consumes."""

    def stop(self, consumer: Any) -> None:
        if _step is not None:
            _step.lost_connection()
