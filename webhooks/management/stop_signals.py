"""How a process that loses nothing stops at a signal: soon, and whatever its main thread does."""

import os
import signal
import threading
import time

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
