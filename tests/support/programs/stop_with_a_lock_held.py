"""Gets the signal that ends a relay while its main thread holds a lock, and threads are slow to begin.

    python -m tests.support.programs.stop_with_a_lock_held stop|starting SIGTERM|SIGINT

The lock is the one of the relay's stop event, or the one that Python holds while a thread is being started.
"""

import os
import signal
import sys
import threading
import time
from typing import Any

import django


def let_threads_begin_slowly() -> None:
    """Let `start` return before the thread has taken all its locks."""
    threads: Any = threading.Thread
    create = threads.__init__

    def create_slow_to_begin(thread: Any, **options: Any) -> None:
        create(thread, **options)
        started = thread._started

        def set_slowly() -> None:
            threading.Event.set(started)
            time.sleep(0.3)

        started.set = set_slowly

    threads.__init__ = create_slow_to_begin


def main(lock: str, signal_name: str) -> None:
    from webhooks.management.commands.relay import STOP_SECONDS
    from webhooks.management.stop_signals import stop_at_signal

    let_threads_begin_slowly()
    threads: Any = threading
    stop: Any = threading.Event()
    stop_at_signal(stop, seconds=STOP_SECONDS)
    with {"stop": stop._cond, "starting": threads._active_limbo_lock}[lock]:
        os.kill(os.getpid(), signal.Signals[signal_name])
        time.sleep(10)
    os._exit(1)


if __name__ == "__main__":
    django.setup()
    main(*sys.argv[1:])
