"""What happens to a process when its parent ends."""

import ctypes
import os
import signal
import sys
import time

from webhooks.threads import start_thread

CHECK_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
"""In linux/prctl.h."""


def signal_at_parents_end(number: signal.Signals) -> None:
    """Have this process get a signal once its parent has ended: from the kernel on Linux, else from a thread."""
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number)) == 0:
        return
    parent = os.getppid()

    def wait_and_signal() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_SECONDS)
        os.kill(os.getpid(), number)

    start_thread("parent", wait_and_signal)
