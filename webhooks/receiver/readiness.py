"""Whether this receiver has started, and is ready: migrated, and not stopping.

A database that does not answer is no fault of the receiver's: a restart would not bring it back, and meanwhile our 503
is a better answer than an ingress's error.
"""

import threading

from webhooks.inbox import database
from webhooks.inbox.committer import Committer, InboxUnavailableError

stopping = threading.Event()
"""Set once the process has been told to stop."""

_migrated = threading.Event()
_NOT_MIGRATED = [f"the database {database.NOT_MIGRATED}"]
_last_faults: list[str] = []
"""What the database said when it answered last."""


def faults(committer: Committer) -> list[str]:
    """Return why this receiver is not ready; empty if it is."""
    return [*(["stopping"] if stopping.is_set() else []), *startup_faults(committer)]


def startup_faults(committer: Committer) -> list[str]:
    """Return why this receiver has not started: not migrated, as far as the database has answered."""
    if not _migrated.is_set():
        try:
            if committer.run(database.is_migrated):
                _migrated.set()
            _last_faults[:] = [] if _migrated.is_set() else _NOT_MIGRATED
        except InboxUnavailableError:
            pass
    return list(_last_faults)
