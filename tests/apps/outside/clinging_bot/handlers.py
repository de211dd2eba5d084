"""One handler, and an object that exists until the interpreter takes this module apart."""

import atexit
import os
from io import FileIO

from webhooks import Event, on

PID = os.getpid()
FILE = os.environ.get("CLINGING_NOTES", os.devnull)


class Clinging:
    # Names of the module mean nothing any more by then, so what is needed stands in default values.
    def __del__(self, own: int = PID, file: str = FILE, open: type[FileIO] = FileIO, pid: object = os.getpid) -> None:
        if pid() == own:  # type: ignore[operator]  # Not a process that this one has forked.
            open(file, "a").write(b"finalised\n")


clinging = Clinging()


@atexit.register
def note_exit() -> None:
    if os.getpid() == PID:
        FileIO(FILE, "a").write(b"exits\n")


@on("ping")
def do_nothing(event: Event) -> None:
    """Be there."""
