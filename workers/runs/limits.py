"""Keeps the time limits of all runs, on a thread of the worker's parent that reads the slots.

    soft limit   SIGUSR1: an exception in the handler, which may clean up
    hard limit   SIGTERM: another one, which ends the run; KILL_SECONDS later the child and its process group are killed

The thread takes no lock and speaks to nobody, so a broker or a database that does not answer delays no limit.
"""

import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress

from workers.runs.slots import Running, Slots

KILL_SECONDS = 1.0
"""How long a handler may take to end after its hard limit."""

Send = Callable[[int, int], None]


class Limits:
    """What was sent to the child in each place, for which run."""

    def __init__(
        self,
        slots: Slots,
        *,
        children: Callable[[], Collection[int]],
        kill: Send = os.kill,
        kill_group: Send = os.killpg,
    ) -> None:
        self._slots, self._children = slots, children
        self._kill, self._kill_group = kill, kill_group
        self._sent: dict[int, tuple[Running, int]] = {}

    def check(self, *, now: float) -> None:
        for place in range(self._slots.count):
            running = self._slots.read(place)
            if running is None or now < running.soft_limit_at:
                continue
            before, sent = self._sent.get(place, (running, 0))
            if before != running:
                sent = 0
            if (number := self._due(running, sent, now)) and running.pid in self._children():
                self._signal(place, running, number)
                self._sent[place] = running, number

    @staticmethod
    def _due(running: Running, sent: int, now: float) -> int:
        """Return the signal that is to be sent, or 0."""
        if now >= running.hard_limit_at + KILL_SECONDS:
            return signal.SIGKILL
        if now >= running.hard_limit_at:
            return signal.SIGTERM if sent != signal.SIGTERM else 0
        return signal.SIGUSR1 if not sent else 0

    def _signal(self, place: int, running: Running, number: int) -> None:
        if number != signal.SIGUSR1:
            self._slots.reach_hard_limit(place, running)
        with suppress(OSError):  # It has ended.
            # A child leads a process group, in which is what the handler has started.
            (self._kill_group if number == signal.SIGKILL else self._kill)(running.pid, number)
