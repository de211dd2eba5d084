"""A command on a terminal of its own, with its output and its Ctrl-C, as a person has it."""

import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.processes import ROOT

CTRL_C = b"\x03"
PATIENCE = 180.0
"""Seconds to wait for output or an end: longer than `make run` waits for its programs and samples in turn (60 s for the
receiver, 60 for Flower, 30 for the samples), so that its own complaint comes first."""
# A session's first process gets the terminal that it opens first as its controlling one.
_ON_TERMINAL = 'terminal=$1; shift; exec "$@" <"$terminal" >"$terminal" 2>&1'


class Terminal:
    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self.output = ""
        self._descriptor = descriptor

    def expect(self, pattern: str, *, seconds: float = PATIENCE) -> re.Match[str]:
        """Read on until the pattern stands in the output."""
        began = time.monotonic()
        while (match := re.search(pattern, self.output)) is None:
            if time.monotonic() - began > seconds or not self._read():
                waited = time.monotonic() - began
                raise AssertionError(f"{pattern!r} is not in the output after {waited:.0f} s:\n{self.output}")
        return match

    def press(self, key: bytes) -> None:
        os.write(self._descriptor, key)

    def exit_status(self, *, seconds: float = PATIENCE) -> int:
        """Read to the end and return the status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._read():
            pass
        return self.process.wait(timeout=max(1, deadline - time.monotonic()))

    def _read(self) -> bool:
        """Read what is there, for half a second at most; return False at the end."""
        if not select.select([self._descriptor], [], [], 0.5)[0]:
            return True
        try:
            chunk = os.read(self._descriptor, 65536)
        except OSError:  # Linux says EIO once nobody has the other side open.
            return False
        self.output += chunk.decode(errors="replace").replace("\r\n", "\n")
        return bool(chunk)


@contextmanager
def on_terminal(
    command: Sequence[str], environment: dict[str, str], *, size: tuple[int, int] = (24, 80)
) -> Iterator[Terminal]:
    """Run a command on a new terminal of so many lines and columns; what is left is asked to end, and waited for."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, size)
    process = subprocess.Popen(
        ["sh", "-c", _ON_TERMINAL, "sh", os.ttyname(theirs), *command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    terminal = Terminal(process, ours)
    try:
        # Held until the command has its own hold: a terminal that nobody has open reads as ended.
        select.select([ours], [], [], 10)
        os.close(theirs)
        yield terminal
    finally:
        if process.poll() is None:
            terminal.press(CTRL_C)
            terminal.exit_status()
        os.close(ours)
