"""A worker's probes and metrics, served by a process of their own beside the children: a step of the Celery worker.

The parent forks its children as long as it lives, and a thread in a process that forks is a trap: whatever lock it
holds at that moment stays locked in the child for ever, be it of libpq, of the resolver or of a metric, and the child
hangs. So nothing is served or asked on a thread of the parent. It forks the probe process before all others, while it
has neither a connection nor a thread, and writes once a second, from the consumer's own loop, what it knows of itself
into memory that both share (vital_signs.py). The probe process serves HTTP from that, asks broker and inbox
over connections of its own (queue_check.py), and decides (liveness.py), also while the parent
stands still. It keeps none of the parent's files open, ends with the parent, and is started again if it ends alone.

It costs about as much memory as one child does: 22 MB (PSS) beside eight of them.
"""

import atexit
import logging
import os
import signal
import time
from typing import Any, NoReturn

from celery import bootsteps
from celery.worker import state
from django.conf import settings
from kombu.asynchronous import set_event_loop

from webhooks.listening import cannot_listen
from webhooks.outage_log import OutageLog
from webhooks.parent import signal_at_parents_end
from webhooks.probe_server import ProbeServer
from workers.probes.run_reports import open_reports
from workers.probes.vital_signs import SharedSigns, VitalSigns
from workers.processes.orphans import spare
from workers.stopping.lifetime import stops_at

HEARTBEAT_SECONDS = 1.0
MOST_FILES = 2**20
"""macOS may allow any number, which `closerange` does not take."""
RUNNING = 1
"""The state of a blueprint, in Celery's numbers."""

logger = logging.getLogger(__name__)


class ProbeStep(bootsteps.StartStopStep):
    """Writes the parent's vital signs, and keeps the probe process going."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **_options: Any) -> None:
        self._worker = worker
        self._started_at_seconds = time.time()
        self._signs = SharedSigns()
        self._accepted = 0
        self._heartbeat_at = self._progress_at = time.monotonic()
        self._has_consumed = False
        self._is_heartbeat_due = False
        self._ports: range = settings.HOOKLINE_PROBE_PORTS
        self._pid = 0
        """Of the probe process; 0 while there is none."""
        self._failures = OutageLog(logger, "probe process not started")

    def include_if(self, worker: Any) -> bool:
        return bool(settings.HOOKLINE_PROBE_PORT)

    def create(self, worker: Any) -> None:
        """Fork the probe process. Steps are created before the first is started: before the children, and threads."""
        global _step  # noqa: PLW0603  Celery makes the consumer's steps, and has no room for more arguments.
        _step = self
        worker.app.steps["consumer"].add(Connection)
        # With the queues, for this is all it says until its loop turns, which is after its first connection.
        self._signs.write(
            VitalSigns(seen_at=self._heartbeat_at, heartbeat_at=self._heartbeat_at, queues=self._queues())
        )
        self._reports = open_reports()
        try:
            self._fork()
        except OSError as error:
            raise SystemExit(f"hookline: {cannot_listen(error, variable='HOOKLINE_PROBE_PORT')}") from None
        logger.info("probes are answered", extra={"port": self._ports[0]})
        atexit.register(self._end, os.getpid())

    def start(self, worker: Any) -> None:
        worker.timer.call_repeatedly(HEARTBEAT_SECONDS, self._tick)

    def close(self, worker: Any) -> None:
        """Note that the loop has ended: from here on it gives no heartbeat, and is not expected to."""
        self._signs.write(self._look(is_ending=True))

    def stop(self, worker: Any) -> None:
        """Do nothing: the probe process answers until the last handler is done, and then ends with the parent."""

    def terminate(self, worker: Any) -> None:
        """As `stop`."""

    def lost_connection(self) -> None:
        self._signs.write(self._look(is_connected=False))

    def _tick(self) -> None:
        self._keep_going()
        if self._worker.hub is not None:  # The timer is the loop's own.
            self._note_heartbeat()
        elif not self._is_heartbeat_due:  # The timer has a thread, and a heartbeat must come from the loop.
            self._is_heartbeat_due = True
            self._worker.consumer.call_soon(self._note_heartbeat)
        self._signs.write(self._look())

    def _keep_going(self) -> None:
        """Start the probe process again if it has ended; where that fails, with the next tick.

        Raises no OSError: Celery's loop would take it for a loss of the broker's connection, and drop that.
        """
        if self._pid and _has_ended(self._pid):
            logger.warning("probe process ended; another is started", extra={"pid": self._pid})
            self._pid = 0  # It may be another process's from here on.
        if self._pid:
            return
        try:
            self._fork()
        except OSError as error:
            self._failures.failed(str(error.strerror))

    def _note_heartbeat(self) -> None:
        self._is_heartbeat_due = False
        self._heartbeat_at = time.monotonic()

    def _look(self, **known: bool) -> VitalSigns:
        """Return what the parent knows of itself."""
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
        """Tell whether a stop has been asked for in any of Celery's ways: a signal, remote control, a step."""
        flags = (state.should_stop, state.should_terminate)
        return self._worker.blueprint.state != RUNNING or any(flag not in (None, False) for flag in flags)

    def _fork(self) -> None:
        parent = os.getpid()
        with ProbeServer.on_first_free(self._ports, host=settings.HOOKLINE_HOST) as server:
            self._ports = range(server.port, server.port + 1)  # Whoever probes it looks for it there from now on.
            pid = os.fork()
            if pid == 0:
                self._live(server, parent)
        self._pid = pid
        spare(pid)

    def _live(self, server: ProbeServer, parent: int) -> NoReturn:
        """Be the probe process."""
        try:
            _live_apart(parent, keep=(server.fileno(), self._reports))
            # Only here: neither the parent nor its children need what it imports.
            from workers.probes.process import serve

            serve(server, self._signs, self._reports, started_at_seconds=self._started_at_seconds)
        except BaseException:
            logger.exception("probe process failed")
        finally:
            os._exit(1)  # Whatever happens, it must not go on as a second parent.

    def _end(self, parent: int) -> None:
        if self._pid and os.getpid() == parent:
            os.kill(self._pid, signal.SIGTERM)


_step: ProbeStep | None = None


class Connection(bootsteps.StartStopStep):
    """A step of the consumer: notices at once that the connection is lost, for Celery then stops the steps."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Do nothing: the loop's next heartbeat shows that it consumes."""

    def stop(self, consumer: Any) -> None:
        if _step is not None:
            _step.lost_connection()


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:  # Somebody else has seen its end.
        return True


def _live_apart(parent: int, *, keep: tuple[int, ...]) -> None:
    """Let the new process end with its parent, and share no signal, no file and no event loop with it."""
    os.setpgrp()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # The parent may hold back signals while it starts.
    signal_at_parents_end(signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)
    set_event_loop(None)
    # The connections and pipes of the parent, whose other ends must see its end and not ours.
    first = 3
    for descriptor in sorted(keep):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, min(os.sysconf("SC_OPEN_MAX"), MOST_FILES))
