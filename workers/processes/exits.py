"""How a child process has ended, told without reaping it: that is for whoever waits for it."""

import os


def exit_code_of(pid: int) -> int | None:
    """Return a child's exit code, negative for a signal; None if it lives, was reaped, or this system cannot tell."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13.
        return None
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def has_any_ended() -> bool:
    """Tell whether any child waits to be reaped: one look at all of them, where there may be many."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
