"""Whether this receiver has started, and is ready: migrated, and not stopping.

A database that does not answer does not make the receiver unready: a restart would not bring the database back, and
until it is back, the receiver's 503 is a better answer than an ingress's error.
"""

import threading

from webhooks.inbox import database
from webhooks.inbox.committer import Committer, InboxUnavailableError

stopping = threading.Event()
"""Set when the process has been asked to stop."""

_migrated = threading.Event()
_NOT_MIGRATED = [f"the database {database.NOT_MIGRATED}"]
_last_faults: list[str] = []
"""What was wrong when the database last answered."""


def faults(committer: Committer) -> list[str]:
    """Return why this receiver is not ready; empty if it is."""
    return [*(["stopping"] if stopping.is_set() else []), *startup_faults(committer)]


def startup_faults(committer: Committer) -> list[str]:
    """Return why this receiver has not started: its database was not migrated when it last answered."""
    if not _migrated.is_set():
        try:
            if committer.run(database.is_migrated):
                _migrated.set()
            _last_faults[:] = [] if _migrated.is_set() else _NOT_MIGRATED
        except InboxUnavailableError:
            pass
    return list(_last_faults)
