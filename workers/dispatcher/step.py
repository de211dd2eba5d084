"""The dispatcher's place in the Celery worker: a step that forks it, watches over it, and tells it of ended children.

The parent forks children as long as it lives. A thread in a process that forks is dangerous: a lock that the thread
holds at that moment, of libpq, of the resolver or of a metric, stays locked in the child for ever, and the child hangs.
So the parent opens no connection to the inbox and serves no probes. Before all other children, while it has neither a
connection nor a thread, it forks the dispatcher, which does both (process.py). The dispatcher has none of the parent's
other files open, and ends after the parent. If it ends alone, or stands still, it is started again: the children keep
their outcomes until a dispatcher has recorded them.
"""

import atexit
import logging
import mmap
import os
import signal
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from celery import bootsteps
from django.conf import settings
from kombu.asynchronous import set_event_loop

from webhooks.github_api import loading, sharing
from webhooks.github_api.access import has_any_app
from webhooks.listening import cannot_listen
from webhooks.outage_log import OutageLog
from webhooks.parent import signal_at_parents_end
from webhooks.probe_server import ProbeServer
from webhooks.threads import start_thread
from workers.probes.step import signs
from workers.processes.exits import exit_code_of, has_any_ended
from workers.processes.orphans import never_end
from workers.runs import channels, turn
from workers.runs.channels import Pair
from workers.runs.hints import LONGEST_SECONDS as LONGEST_ANSWER_SECONDS
from workers.runs.hints import hints
from workers.runs.limits import Limits
from workers.runs.messages import ChildEnded
from workers.runs.slots import Slots
from workers.runs.stacks import Stacks
from workers.stopping import grace

LOOK_SECONDS = 0.05
"""How often the limits are looked at."""
SILENT_SECONDS = 15.0
"""A dispatcher without a heartbeat for so long is killed. Waiting for the inbox does not keep it from its heartbeat."""
RESTART_SECONDS = 0.5
TELL_AGAIN_SECONDS = 30.0
"""A new dispatcher is told again of runs that ended with their child so long ago at most."""
MOST_TOLD_AGAIN = 200
FINISH_SECONDS = 3.0
"""How long the parent waits at its end until the dispatcher has recorded the last outcomes."""
MOST_FILES = 2**20
"""macOS may allow any number, which `closerange` does not take."""

logger = logging.getLogger(__name__)


class Heartbeat:
    """When the dispatcher's loop last turned, in memory that it shares with the parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)
        self.beat()

    def beat(self) -> None:
        struct.pack_into("=d", self._memory, 0, time.monotonic())

    def age_seconds(self) -> float:
        (at,) = struct.unpack_from("=d", self._memory, 0)
        return time.monotonic() - float(at)


class DispatcherStep(bootsteps.StartStopStep):
    """Keeps the dispatcher going, and the time limits of what the children run."""

    requires = ("celery.worker.components:Pool", "workers.probes.step:SignsStep")

    def __init__(self, worker: Any, **_options: Any) -> None:
        self._worker = worker
        self._started_at_seconds = time.time()
        self._ports: range | None = settings.HOOKLINE_PROBE_PORTS if settings.HOOKLINE_PROBE_PORT else None
        self._heartbeat = Heartbeat()
        self._pid = 0
        """The dispatcher's; 0 while there is none."""
        self._is_finishing = False
        self._restart_at = 0.0
        self._failures = OutageLog(logger, "dispatcher not started")
        self._telling = threading.Lock()  # Of two threads of the parent. The processes that it forks never take it.
        self._told: dict[int, int] = {}
        """By place, the process whose end the dispatcher was told of last."""
        self._cut_off: deque[tuple[float, ChildEnded]] = deque(maxlen=MOST_TOLD_AGAIN)

    def create(self, worker: Any) -> None:
        """Fork the dispatcher. Steps are created before the first is started: before the children, and threads."""
        count = int(worker.concurrency)
        self._slots, self._pairs, self._control = Slots(count), [Pair() for _ in range(count)], Pair()
        for end in (self._control.dispatcher, self._control.child):
            end.setblocking(False)
        self._stacks = Stacks(count)
        turn.prepare(self._slots, self._pairs, self._stacks)
        if has_any_app():
            sharing.prepare()
            loading.load()
        try:
            self._fork(is_first=True)
        except OSError as error:
            raise SystemExit(f"hookline: {cannot_listen(error, variable='HOOKLINE_PROBE_PORT')}") from None
        if self._ports:
            logger.info("probes are answered", extra={"port": self._ports[0]})
        atexit.register(self._finish_at_exit, os.getpid())
        grace.at_exit.append(self.finish)

    def start(self, worker: Any) -> None:
        pool = worker.pool._pool
        # Billiard calls it for each child that has ended, once it knows how, and before another takes its place.
        pool.process_flush_queues = partial(self._reap, pool.process_flush_queues)
        start_thread("limits", partial(self._guard, Limits(self._slots, children=lambda: pids_of(pool)), pool))

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Ask the dispatcher about messages. Without a loop, as on the embedded broker, each of them begins a turn."""
        hints.open(self._control.child)
        hub.add_reader(self._control.child, self._hear_dispatcher)
        hub.call_repeatedly(LONGEST_ANSWER_SECONDS, hints.give_up_waiting)

    def _hear_dispatcher(self) -> None:
        while (message := channels.take(self._control.child)) is not None:
            hints.hear_answer(message)

    def stop(self, worker: Any) -> None:
        """Do nothing: the dispatcher works until the last handler has ended, and then ends with the parent."""

    def terminate(self, worker: Any) -> None:
        """As `stop`."""

    def _finish_at_exit(self, parent: int) -> None:
        if os.getpid() == parent and not self._is_finishing:
            self.finish(FINISH_SECONDS)

    def finish(self, seconds: float) -> None:
        """Have the dispatcher record what it still has, and wait so long for its end at most."""
        self._is_finishing = True
        sharing.close()
        if self._has_ended():
            return
        os.kill(self._pid, signal.SIGTERM)
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and not self._has_ended():
            time.sleep(0.01)

    def _reap(self, flush_queues: Callable[[Any], None], child: Any) -> None:
        self._tell_of_end(child.index, child.pid, child.exitcode)
        flush_queues(child)

    def _tell_of_end(self, place: int, pid: int, exit_code: int) -> None:
        """Tell the dispatcher of a child's end, once."""
        if place >= self._slots.count:  # Remote control has let the pool grow; such a child takes no jobs.
            return
        with self._telling:
            if self._told.get(place) == pid:
                return
            self._told[place] = pid
            running = self._slots.read(place)
            if running is not None and running.pid == pid:
                has_reached_limit = self._slots.has_reached_hard_limit(place, running)
                self._slots.end(place)
            else:
                running, has_reached_limit = None, False
            self._slots.leave(place)
            message = ChildEnded(place, pid, exit_code, running, has_reached_limit)
            if running:
                self._cut_off.append((time.monotonic(), message))
            self._say(message)

    def _say(self, message: ChildEnded) -> None:
        # If a dispatcher that stands still leaves no room for it, the lease of the run ends.
        with suppress(BlockingIOError):
            channels.send(self._control.child, message)

    def _guard(self, limits: Limits, pool: Any) -> None:
        """On a thread, since a broker that does not answer may hold the loop; during a stop it waits for the pool."""
        while not self._is_finishing:
            time.sleep(LOOK_SECONDS)
            self._look(limits, pool, now=time.monotonic())

    def _look(self, limits: Limits, pool: Any, *, now: float) -> None:
        limits.check(now=now)
        self._look_for_ends(pool)
        if now >= self._restart_at:
            self._restart_at = now + RESTART_SECONDS
            self._restart_if_ended()

    def _look_for_ends(self, pool: Any) -> None:
        """Notice the ends of children before the loop does, which does not turn while it tries to reach the broker."""
        for child in list(pool._pool) if has_any_ended() else ():
            if child.pid and (exit_code := exit_code_of(child.pid)) is not None:
                self._tell_of_end(child.index, child.pid, exit_code)

    def _restart_if_ended(self) -> None:
        if self._pid and self._has_ended():
            logger.warning("dispatcher ended; another is started", extra={"pid": self._pid})
            self._pid = 0
            for told_at, message in list(self._cut_off):
                if time.monotonic() - told_at < TELL_AGAIN_SECONDS:
                    self._say(message)  # The one before may not have recorded it yet.
        if not self._pid:
            try:
                self._fork(is_first=False)
            except OSError as error:
                self._failures.failed(str(error.strerror))
        elif self._heartbeat.age_seconds() > SILENT_SECONDS:
            logger.error("dispatcher stands still and is killed", extra={"pid": self._pid})
            os.kill(self._pid, signal.SIGKILL)

    def _has_ended(self) -> bool:
        try:
            return not self._pid or os.waitpid(self._pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # It was reaped elsewhere.
            return True

    def _fork(self, *, is_first: bool) -> None:
        parent = os.getpid()
        server = None
        if self._ports:
            server = ProbeServer.on_first_free(self._ports, host=settings.HOOKLINE_HOST)
            self._ports = range(server.port, server.port + 1)  # From now on probes are sent to this port.
        self._heartbeat.beat()
        try:
            pid = os.fork()
            if pid == 0:
                self._be_dispatcher(server, parent, is_first=is_first)
        finally:
            if server:
                server.server_close()
        self._pid = pid
        never_end(pid)

    def _be_dispatcher(self, server: ProbeServer | None, parent: int, *, is_first: bool) -> NoReturn:
        try:
            ends = [end.fileno() for pair in [*self._pairs, self._control] for end in (pair.dispatcher, pair.child)]
            _detach(parent, keep=[*ends, *self._stacks.descriptors, *([server.fileno()] if server else [])])
            # Imported only here: neither the parent nor its children need the modules.
            from workers.dispatcher.process import serve

            serve(
                worker=str(self._worker.hostname)[:255],
                slots=self._slots,
                stacks=self._stacks,
                pairs=self._pairs,
                control=self._control.dispatcher,
                signs=signs,
                beat=self._heartbeat.beat,
                server=server,
                started_at_seconds=self._started_at_seconds,
                is_first=is_first,
            )
        except BaseException:
            logger.exception("dispatcher failed")
        finally:
            os._exit(1)  # In no case may it continue as a second parent.


def pids_of(pool: Any) -> set[int]:
    return {child.pid for child in list(pool._pool)}


def _detach(parent: int, *, keep: list[int]) -> None:
    """Let the new process end with its parent, but share no signal, no file and no event loop with it."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    # The parent's own handler would swallow the signal that says that the parent has ended. So it waits until there is
    # one of the dispatcher. Any other is let through: the parent may block signals while it starts.
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})
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
