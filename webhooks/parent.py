"""What happens to a process when its parent ends."""

import os
import signal
import time

from billiard.util import set_pdeathsig  # type: ignore[attr-defined]  # The stubs lack it.

from webhooks.threads import start_thread

CHECK_SECONDS = 1.0


def signal_at_parents_end(number: signal.Signals) -> None:
    """Have this process get a signal once its parent has ended: from the kernel on Linux, else from a thread."""
    try:
        set_pdeathsig(number)
    except OSError:
        parent = os.getppid()

        def wait_and_signal() -> None:
            while os.getppid() == parent:
                time.sleep(CHECK_SECONDS)
            os.kill(os.getpid(), number)

        start_thread("parent", wait_and_signal)
