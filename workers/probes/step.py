"""A worker's probes and metrics, served by a process of their own beside the children: a step of the Celery worker.

The parent forks children as long as it lives. A thread in a process that forks is dangerous: a lock that the thread
holds at that moment, of libpq, of the resolver or of a metric, stays locked in the child for ever, and the child hangs.
So no thread of the parent serves probes or asks broker and inbox. Before all other children, while it has neither a
connection nor a thread, the parent forks the probe process. Once a second, from the consumer's own loop, it writes its
vital signs into memory that both share (vital_signs.py). The probe process serves HTTP from them, asks broker and inbox
over connections of its own (queue_check.py), and decides (liveness.py), also while the parent stands still. It keeps
none of the parent's files open, ends with the parent, and is started again if it ends alone.

It needs about as much memory as one child: 22 MB (PSS) beside eight children.
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
from workers.processes.orphans import never_end
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
        """The id of the probe process; 0 while there is none."""
        self._failures = OutageLog(logger, "probe process not started")

    def include_if(self, worker: Any) -> bool:
        return bool(settings.HOOKLINE_PROBE_PORT)

    def create(self, worker: Any) -> None:
        """Fork the probe process. All steps are created before one is started: before there are children or threads."""
        global _step  # noqa: PLW0603  Celery makes the consumer's steps, and has no room for more arguments.
        _step = self
        worker.app.steps["consumer"].add(Connection)
        # With the queues, since the next signs are written only when the loop turns: after the first connection.
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
        """Note that the loop has ended: from now on no heartbeat is expected."""
        self._signs.write(self._look(is_ending=True))

    def stop(self, worker: Any) -> None:
        """Do nothing: the probe process answers until the last handler is done, and then ends with the parent."""

    def terminate(self, worker: Any) -> None:
        """As `stop`."""

    def lost_connection(self) -> None:
        self._signs.write(self._look(is_connected=False))

    def _tick(self) -> None:
        self._restart_if_ended()
        if self._worker.hub is not None:  # The timer runs in the loop.
            self._note_heartbeat()
        elif not self._is_heartbeat_due:  # The timer runs in a thread, and a heartbeat must come from the loop.
            self._is_heartbeat_due = True
            self._worker.consumer.call_soon(self._note_heartbeat)
        self._signs.write(self._look())

    def _restart_if_ended(self) -> None:
        """Start the probe process again if it has ended. If that fails, the next tick tries again.

        Raises no OSError: Celery's loop would take it for a lost connection, and close the broker's.
        """
        if self._pid and _has_ended(self._pid):
            logger.warning("probe process ended; another is started", extra={"pid": self._pid})
            self._pid = 0  # From now on another process may get this id.
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

    def _fork(self) -> None:
        parent = os.getpid()
        with ProbeServer.on_first_free(self._ports, host=settings.HOOKLINE_HOST) as server:
            self._ports = range(server.port, server.port + 1)  # From now on probes are sent to this port.
            pid = os.fork()
            if pid == 0:
                self._run_probe_process(server, parent)
        self._pid = pid
        never_end(pid)

    def _run_probe_process(self, server: ProbeServer, parent: int) -> NoReturn:
        try:
            _detach(parent, keep=(server.fileno(), self._reports))
            # Imported only here: neither the parent nor its children need the modules.
            from workers.probes.process import serve

            serve(server, self._signs, self._reports, started_at_seconds=self._started_at_seconds)
        except BaseException:
            logger.exception("probe process failed")
        finally:
            os._exit(1)  # In no case may it continue as a second parent.

    def _end(self, parent: int) -> None:
        if self._pid and os.getpid() == parent:
            os.kill(self._pid, signal.SIGTERM)


_step: ProbeStep | None = None


class Connection(bootsteps.StartStopStep):
    """A step of the consumer. Celery stops the steps when the connection is lost, so this notices it at once."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Do nothing: the loop's next heartbeat shows that it consumes."""

    def stop(self, consumer: Any) -> None:
        if _step is not None:
            _step.lost_connection()


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:  # It was reaped elsewhere.
        return True


def _detach(parent: int, *, keep: tuple[int, ...]) -> None:
    """Let the new process end with its parent, but share no signal, no file and no event loop with it."""
    os.setpgrp()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # The parent may block signals while it starts.
    signal_at_parents_end(signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)
    set_event_loop(None)
    # Close the parent's connections and pipes: their other ends must notice when the parent ends.
    first = 3
    for descriptor in sorted(keep):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, min(os.sysconf("SC_OPEN_MAX"), MOST_FILES))
