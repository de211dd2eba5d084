"""The stack of a running handler, on demand: the child writes it when it gets a signal.

`faulthandler` writes it in C, also while the handler is in a call into C, and the system call that it interrupts goes
on. It shows the main thread, in which handlers run; of other threads the frames could change while they are read. Each
place in the pool has a file in memory, made before the processes are forked: the child writes, the dispatcher reads.
"""

import faulthandler
import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress

SIGNAL: int = signal.SIGRTMAX - 2 if hasattr(signal, "SIGRTMAX") else signal.SIGIO
"""Nothing else sends it: Celery and billiard use INT, TERM, QUIT, HUP, USR1 and USR2, and Hookline URG."""
MOST_BYTES = 20 * 1024
WAIT_SECONDS = 2.0
"""How long the child may take."""
LOOK_SECONDS = 0.05
NO_ANSWER = f"The job's process has not written its stack within {WAIT_SECONDS:g} s."
UNAVAILABLE = "This worker has no file in memory that a stack could be written to."
CUT = "… (longer than 20 KB)"
_BELOW_THE_HANDLER = "/webhooks/inbox/calls.py"
"""Hookline's function that calls handlers. What called this function is the same for every handler."""


class Stacks:
    """The files, one for each place. Without room for them there are none, and no stacks."""

    def __init__(self, count: int) -> None:
        self.descriptors: list[int] = []
        with suppress(OSError):
            self.descriptors += [_file_in_memory() for _ in range(count)]

    def register(self, place: int) -> None:
        """Have this process write its stack into the place's file, whenever it gets the signal."""
        if place < len(self.descriptors):
            faulthandler.register(SIGNAL, file=self.descriptors[place], all_threads=False)

    def ask(self, place: int, pid: int) -> str:
        """Return the stack of the process in this place, which has registered; or a sentence why there is none."""
        if place >= len(self.descriptors):
            return UNAVAILABLE
        descriptor = self.descriptors[place]
        os.ftruncate(descriptor, 0)
        with suppress(ProcessLookupError):
            os.kill(pid, SIGNAL)
        _wait_until_written(lambda: os.fstat(descriptor).st_size)
        written = os.pread(descriptor, MOST_BYTES + 1, 0)
        return _readable(written) or NO_ANSWER

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def _file_in_memory() -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("hookline-stack", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    # Each process has the file's one position: appended, a stack begins where the file ends, after it was emptied.
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    return descriptor


def _wait_until_written(size: Callable[[], int]) -> None:
    """Wait until something is written and no more comes."""
    gives_up_at = time.monotonic() + WAIT_SECONDS
    before = 0
    while time.monotonic() < gives_up_at:
        time.sleep(LOOK_SECONDS)
        now = size()
        if now and now == before:
            return
        before = now


def _readable(written: bytes) -> str:
    """Return the handler's frames, the innermost first, without the line that names the thread."""
    lines = written[:MOST_BYTES].decode(errors="replace").splitlines()[1:]
    for number, line in enumerate(lines):
        if _BELOW_THE_HANDLER in line:
            lines = lines[:number]
            break
    else:
        if len(written) > MOST_BYTES:
            lines.append(CUT)
    return "\n".join(line.removeprefix("  ") for line in lines)
