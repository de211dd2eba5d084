"""Where `make run` serves: a file in the data directory, by which other commands on this machine find its receiver."""

import fcntl
import json
from dataclasses import asdict, dataclass
from pathlib import Path

LOCK = "run.lock"
"""Locked for as long as a program of `make run` may run on this data directory."""
_FILE = "running.json"


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What one `make run` started: the address of its receiver and of Flower."""

    receiver: str
    flower: str


def note(directory: Path, run: LocalRun) -> None:
    (directory / _FILE).write_text(json.dumps(asdict(run), indent=1) + "\n")


def forget(directory: Path) -> None:
    (directory / _FILE).unlink(missing_ok=True)


def noted(directory: Path) -> LocalRun | None:
    """Return what the file says, or None. The run may have ended: ask `is_running`."""
    try:
        return LocalRun(**json.loads((directory / _FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_running(directory: Path) -> bool:
    """Tell whether a `make run` holds this data directory's lock. The lock of a killed one is free."""
    try:
        with (directory / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
