"""How a process stops at a signal: soon, whatever its main thread does; or a command between two of its batches."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from webhooks.threads import start_thread

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def stop_at_signal(stop: threading.Event, *, seconds: float) -> None:
    """Set `stop` at the first SIGTERM or SIGINT, and exit with 0 after so many seconds, whatever the main thread does.

    The main thread may be waiting for a database or a broker that does not answer, or hold a lock that the stop needs,
    such as the lock of `stop` itself. So a second thread waits on a pipe, into which the interpreter writes the number
    of each signal: without a lock, and even while the main thread waits in C code. The process may exit at any moment
    and lose nothing.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    is_running = threading.Event()

    def exit_after_signal() -> None:
        is_running.set()
        while os.read(read_end, 1)[0] not in STOP_SIGNALS:
            pass
        time.sleep(seconds)
        os._exit(0)

    start_thread("stop", exit_after_signal)
    is_running.wait()  # `start_thread` returns before the new thread has taken the last lock that it needs.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda _number, _frame: stop.set())


@contextmanager
def stop_between_batches() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and Ctrl-C set. A second Ctrl-C interrupts, as Python does by default."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
