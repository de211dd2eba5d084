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

    Ctrl-C goes to the whole foreground group, and make dies of it with status 130 however warmly we stop. Without a
    terminal, or in its background, nothing changes.
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
    # Ctrl-Z would stop us alone, and leave the shell waiting for a make that never stops. A handler, since SIG_IGN
    # would be inherited by every program that we start.
    signal.signal(signal.SIGTSTP, lambda _number, _frame: None)
    os.setpgid(0, 0)
    _give_terminal(terminal, os.getpid())
    try:
        yield
    finally:
        _give_terminal(terminal, previous)
        os.close(terminal)


def _give_terminal(terminal: int, group: int) -> None:
    # Asked from the background, as we are for a moment, this stops the asker unless the signal is blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(terminal, group)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})
