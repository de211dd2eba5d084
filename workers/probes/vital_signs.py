"""The vital signs of a worker's parent process, which the probe process reads from memory that both share.

The parent writes, the probe process reads, and neither waits for the other: a lock between them could stay locked after
a fork, or while one is stopped. The reader recognises a half-written record by its number.
"""

import json
import mmap
import struct
import threading
from dataclasses import asdict, dataclass

SIZE_BYTES = 64 * 1024
TRIES = 100
_HEAD = struct.Struct("=QI")


@dataclass(frozen=True, slots=True, kw_only=True)
class VitalSigns:
    """The state of the parent, as it wrote it last. Moments `_at` are of the machine's monotonic clock."""

    seen_at: float
    """When these signs were written."""
    heartbeat_at: float
    """When the consumer's loop last turned."""
    is_consuming: bool = False
    """Connected, and consuming from each of its queues."""
    is_connected: bool = False
    has_consumed: bool = False
    is_ending: bool = False
    """Its loop ends: a stop has begun."""
    stops_at_seconds: float = 0.0
    """When its lifetime ends, in epoch seconds; 0 for never."""
    processes: int = 0
    busy: int = 0
    unstarted: int = 0
    """Messages that it holds and that no child has begun."""
    progress_at: float = 0.0
    """When it last took a job, or last could not take one: no child was free, or it did not consume."""
    queues: tuple[str, ...] = ()


class SharedSigns:
    """The shared memory. One process writes; processes that it forks read."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE_BYTES)
        self._number = 0
        # For threads of the writing process, if it has several. The reader never takes this lock.
        self._writing = threading.Lock()

    def write(self, signs: VitalSigns) -> None:
        record = json.dumps(asdict(signs)).encode()
        with self._writing:
            self._number += 1
            # The number is odd while the record is being written.
            _HEAD.pack_into(self._memory, 0, 2 * self._number - 1, len(record))
            self._memory[_HEAD.size : _HEAD.size + len(record)] = record
            _HEAD.pack_into(self._memory, 0, 2 * self._number, len(record))

    def read(self) -> VitalSigns | None:
        """Return the last record; None if there is none, or if the writer was stopped in the middle of a write."""
        for _ in range(TRIES):
            number, length = _HEAD.unpack_from(self._memory, 0)
            record = self._memory[_HEAD.size : _HEAD.size + length]
            if number and number % 2 == 0 and _HEAD.unpack_from(self._memory, 0)[0] == number:
                known = json.loads(record)
                return VitalSigns(**known | {"queues": tuple(known["queues"])})
        return None
