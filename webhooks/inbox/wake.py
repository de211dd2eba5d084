"""Wakes the relay before its second is over. On PostgreSQL by NOTIFY; elsewhere the relay's own clock must do."""

import logging
import threading

from django.db import Error, connection

from webhooks.inbox import database
from webhooks.outage_log import OutageLog

CHANNEL = "hookline_relay"

_log = OutageLog(logging.getLogger(__name__), "relay cannot listen")


def wake_relay() -> None:
    """Wake every relay as the current transaction commits."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")


class Alarm:
    """The relay's sleep: ends at its time, or when woken, or at `stop`."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._listens_on: object = None

    def sleep(self, seconds: float) -> None:
        if connection.vendor != "postgresql":
            self._stop.wait(seconds)
            return
        try:
            self._listen()
            # psycopg's own method raises psycopg's own errors, which nobody else here expects.
            with connection.wrap_database_errors:
                # One notification is enough to wake; those that came with it have nothing more to say.
                for _ in connection.connection.notifies(timeout=seconds, stop_after=1):
                    break
        except Error as error:
            database.drop()
            _log.failed(f"the database {database.reason(error)}")
            self._stop.wait(seconds)

    def _listen(self) -> None:
        connection.ensure_connection()
        if self._listens_on is connection.connection:
            return
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._listens_on = connection.connection
