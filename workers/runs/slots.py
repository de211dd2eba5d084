"""What each child runs, in memory that the worker's processes share: one slot for each place in the pool.

The child writes its slot before and after each handler. The parent reads it to keep the time limits, and the dispatcher
to tell what a child that has ended was running. Nobody waits for anybody: a reader that meets a half-written slot reads
it again.
"""

import mmap
import struct
import time
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

TRIES = 100
_RUN = struct.Struct("=QqIIddd")
"""A number that is odd while the rest is being written; job, attempt, process id; began, soft limit, hard limit."""
_LIMIT = struct.Struct("=qI")
"""Job and attempt whose hard limit was reached: written by the parent, before it signals the child."""
MOST_OWED = 8
_OWED = [struct.Struct("=I" + count * "qI") for count in range(MOST_OWED + 1)]
"""How many outcomes the child has that may not be recorded; job and attempt of each, as far as there is room."""
_SIZE = _RUN.size + _LIMIT.size + _OWED[-1].size


class Running(NamedTuple):
    """A run that is going on. Moments are of the machine's monotonic clock."""

    job_id: int
    attempt: int
    pid: int
    began_at: float
    soft_limit_at: float
    hard_limit_at: float


class Slots:
    """The shared memory, made before the processes that use it are forked."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._memory = mmap.mmap(-1, count * _SIZE)
        self._turns = mmap.mmap(-1, count)

    def begin(
        self, place: int, job_id: int, attempt: int, *, pid: int, soft_limit: float, hard_limit: float
    ) -> Running:
        """Note that a handler begins now, with its limits in seconds from now."""
        now = time.monotonic()
        running = Running(job_id, attempt, pid, now, now + soft_limit, now + hard_limit)
        self._write(place, running)
        return running

    def end(self, place: int) -> None:
        """Note that no handler runs any more, and no limit counts."""
        self._write(place, Running(0, 0, 0, 0.0, 0.0, 0.0))

    def enter(self, place: int) -> None:
        """Note that the child begins a turn: until it leaves, it may hold outcomes that are not recorded."""
        self._turns[place] = 1

    def leave(self, place: int) -> None:
        self._turns[place] = 0

    def is_in_turn(self, place: int) -> bool:
        return self._turns[place] == 1

    def read(self, place: int) -> Running | None:
        """Return what is run in this place, or None; None too if the child has ended in the middle of a write."""
        offset = place * _SIZE
        for _ in range(TRIES):
            number, *values = _RUN.unpack_from(self._memory, offset)
            if number % 2 == 0 and _RUN.unpack_from(self._memory, offset)[0] == number:
                return Running(*values) if values[0] else None
        return None

    def running(self) -> list[Running]:
        """Return what is run in any place."""
        return [running for place in range(self.count) if (running := self.read(place))]

    def owe(self, place: int, claims: Sequence[tuple[int, int]]) -> None:
        """Note the runs of this child, as (job, attempt), whose outcomes it has not seen recorded."""
        noted = claims[:MOST_OWED]
        _OWED[len(noted)].pack_into(self._memory, self._owed_at(place), len(claims), *chain.from_iterable(noted))

    def owed(self, place: int) -> set[tuple[int, int]] | None:
        """Return these runs, or None if there are more than fit. To be asked only while the child is in a run."""
        (count,) = _OWED[0].unpack_from(self._memory, self._owed_at(place))
        if count > MOST_OWED:
            return None
        _, *numbers = _OWED[count].unpack_from(self._memory, self._owed_at(place))
        return set(zip(numbers[::2], numbers[1::2], strict=True))

    @staticmethod
    def _owed_at(place: int) -> int:
        return place * _SIZE + _RUN.size + _LIMIT.size

    def reach_hard_limit(self, place: int, running: Running) -> None:
        """Note that a child is about to be signalled since this run has reached its hard limit."""
        _LIMIT.pack_into(self._memory, place * _SIZE + _RUN.size, running.job_id, running.attempt)

    def has_reached_hard_limit(self, place: int, running: Running) -> bool:
        found: tuple[int, int] = _LIMIT.unpack_from(self._memory, place * _SIZE + _RUN.size)
        return found == (running.job_id, running.attempt)

    def _write(self, place: int, running: Running) -> None:
        offset = place * _SIZE
        number = (_RUN.unpack_from(self._memory, offset)[0] | 1) + 2
        values = (
            *(running.job_id, running.attempt, running.pid),
            *(running.began_at, running.soft_limit_at, running.hard_limit_at),
        )
        _RUN.pack_into(self._memory, offset, number, *values)
        struct.pack_into("=Q", self._memory, offset, number + 1)
