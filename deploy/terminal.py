"""The terminal's Ctrl-C: who gets it, and how often it was pressed. Knows nothing of what is run."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequests:
    """Counts SIGINT, SIGTERM and SIGHUP instead of being ended by them."""

    def __init__(self) -> None:
        self.count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


@contextmanager
def own_process_group() -> Iterator[None]:
    """Run in the terminal's foreground, in a process group of one.

    Ctrl-C goes to the whole foreground group. If make were in it, make would exit with status 130 after the warm stop.
    Without a terminal, or in its background, nothing changes.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield
        return
    previous = os.getpgrp()
    if previous == os.getpid() or os.tcgetpgrp(terminal) != previous:
        os.close(terminal)
        yield
        return
    # Ctrl-Z would suspend this process only, and the shell would wait for a make that is not suspended. A handler that
    # does nothing, since the programs started here would inherit SIG_IGN.
    signal.signal(signal.SIGTSTP, lambda _number, _frame: None)
    os.setpgid(0, 0)
    _give_terminal(terminal, os.getpid())
    try:
        yield
    finally:
        _give_terminal(terminal, previous)
        os.close(terminal)


def _give_terminal(terminal: int, group: int) -> None:
    # This process may be in the background for a moment. There, tcsetpgrp suspends it unless it blocks SIGTTOU.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(terminal, group)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})
