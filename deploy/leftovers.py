"""Removes what an earlier start left in the filesystem broker's folder: queues of Flower and of the remote control.

Each process has its own such queues, under new names at every start. Nobody reads them after the process has ended.
Messages of job queues are kept: they name jobs that are due.
"""

import re
from pathlib import Path

# Celery's own names: celeryev.<uuid> (events), <node>.celery.pidbox (commands), <uuid>.reply.celery.pidbox (answers).
_MESSAGE = re.compile(r"[^.]*\.(?:celeryev\..+|.+\.celery\.pidbox)\.msg")
_EXCHANGES = ("celeryev", "celery.pidbox", "reply.celery.pidbox")


def remove_leftovers(*, messages: Path, control: Path) -> None:
    """Remove the messages of these queues and empty their exchanges' tables. Only while none of the programs runs."""
    for file in messages.glob("*.msg"):
        if _MESSAGE.fullmatch(file.name):
            file.unlink()
    for exchange in _EXCHANGES:
        # Emptied, not removed: kombu creates a missing table before it locks it, and a process that reads it in between
        # fails.
        (control / f"{exchange}.exchange").write_text("[]")
