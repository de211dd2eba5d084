"""Whether this receiver has started, and is ready: migrated, and not stopping.

A database that does not answer is no fault of the receiver's: a restart would not bring it back, and meanwhile our 503
is a better answer than an ingress's error.
"""

import threading

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from webhooks.committer import Committer, InboxUnavailableError

stopping = threading.Event()
"""Set once the process has been told to stop."""

_migrated = threading.Event()


def faults(committer: Committer) -> list[str]:
    """Return why this receiver is not ready; empty if it is."""
    return [*(["stopping"] if stopping.is_set() else []), *startup_faults(committer)]


def startup_faults(committer: Committer) -> list[str]:
    """Return why this receiver has not started: the database answers, and has not been migrated."""
    if not _migrated.is_set():
        try:
            if not committer.run(is_migrated):
                return ["not migrated; run manage.py migrate"]
        except InboxUnavailableError:
            return []
        _migrated.set()
    return []


def is_migrated() -> bool:
    """Ask the database whether every migration of this release has been applied."""
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())
