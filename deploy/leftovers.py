"""What an earlier start left in the filesystem broker's folder: Flower's and the remote control's queues.

Each process has queues of its own there, named afresh at every start, and nobody reads them once it has gone. Messages
of job queues stay: they are jobs on their way.
"""

import re
from pathlib import Path

# Celery's own names: celeryev.<uuid> (events), <node>.celery.pidbox (commands), <uuid>.reply.celery.pidbox (answers).
_MESSAGE = re.compile(r"[^.]*\.(?:celeryev\..+|.+\.celery\.pidbox)\.msg")
_EXCHANGES = ("celeryev", "celery.pidbox", "reply.celery.pidbox")


def remove_leftovers(*, messages: Path, control: Path) -> None:
    """Remove their messages and empty their tables. Only while none of the programs runs."""
    for file in messages.glob("*.msg"):
        if _MESSAGE.fullmatch(file.name):
            file.unlink()
    for exchange in _EXCHANGES:
        # Emptied, not removed: kombu creates a missing table before it locks it, and whoever reads it just then fails.
        (control / f"{exchange}.exchange").write_text("[]")
