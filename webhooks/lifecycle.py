"""Whether this receiver is ready: migrated, and not stopping."""

import threading

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from webhooks.committer import Committer, InboxUnavailableError

stopping = threading.Event()
"""Set once the process has been told to stop."""

_migrated = threading.Event()


def faults(committer: Committer) -> list[str]:
    """Return why this receiver is not ready; empty if it is. A database that does not answer is no fault of ours."""
    found = []
    if stopping.is_set():
        found.append("stopping")
    if not _migrated.is_set():
        try:
            if committer.run(is_migrated):
                _migrated.set()
            else:
                found.append("not migrated; run manage.py migrate")
        except InboxUnavailableError:
            pass
    return found


def is_migrated() -> bool:
    """Ask the database whether every migration of this release has been applied."""
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())
