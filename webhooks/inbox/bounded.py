"""A transaction on a thread of its own, for which somebody waits only so long.

Timeouts of sockets cannot bound the wait: a connection to a PostgreSQL that is up but silent blocks past all of them.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection

from webhooks.inbox import database
from webhooks.inbox.engine import engine


class BoundedTransaction:
    """One transaction and its connection, which is closed when nobody waits any more."""

    def __init__(self, work: Callable[[], Any], *, wait_seconds: float) -> None:
        self._work = work
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._raw: Any = None
        self._is_abandoned = False
        self.began: float | None = None
        """When a thread began the transaction, by the monotonic clock."""

    def run(self) -> Any:
        self.began = time.monotonic()
        try:
            return database.run(self._attempt, may_repeat=lambda: not self._is_abandoned)
        finally:
            with self._lock:
                self._raw = None

    def _attempt(self) -> Any:
        if connection.connection is None:
            connection.ensure_connection()
            engine().prepare_connection(wait_seconds=self._wait_seconds)
        with self._lock:
            self._raw = connection.connection
        return self._work()

    def abandon(self) -> None:
        """Shut down the socket of a transaction that does not end, which frees its thread. SQLite has no socket."""
        with self._lock:
            self._is_abandoned = True
            descriptor = getattr(self._raw, "fileno", None)
            if descriptor is None:
                return
            with contextlib.suppress(Exception), socket.socket(fileno=os.dup(descriptor())) as shared:
                shared.shutdown(socket.SHUT_RDWR)
