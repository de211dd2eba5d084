"""Decides for every process what an error of the database is about, and what follows from it.

An error is either about the row at hand, or it is an *outage*: about the server, its configuration or this session, so
that the next row would fail too. An outage ends the connection. `run` then tries once on a new connection, since only
the old one may be faulty: the server was restarted, or was a standby for a while and is the primary again. After an
outage every kept connection of the process is *stale*: it is closed before its next use. In the receiver, connections
that were opened during the outage are stale too.
"""

import itertools
import re
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from django.core.signals import got_request_exception, request_started
from django.db import DatabaseError, DataError, Error, IntegrityError, connection
from django.db.models import Model, QuerySet
from django.db.models.functions import Now

from webhooks import outage_reasons
from webhooks.models import Source

T = TypeVar("T")
Row = TypeVar("Row", bound=Model)

NOT_MIGRATED = "is not migrated; run manage.py migrate"
_LET_IN = "lets no such client in; look at pg_hba.conf, which may want TLS"
_UNKNOWN = "has no database of that name"
_PRIVILEGES = "denies this user a privilege that is needed"
_READ_ONLY = "is read-only; it may be a standby, or not promoted yet"
_CHANGING = "is starting, stopping or recovering"
_CONFLICT = "gave precedence to another transaction"
_NO_TLS = "does not speak TLS, and sslmode asks for it"
_TLS = "fails at TLS; look at sslmode and the certificates"
_LOCKED = "is locked by another process"
_POOLED = "is behind a pooler; set HOOKLINE_DATABASE_POOLED to true"
_REFUSED = "refuses an ordinary delivery; a trigger or a constraint that is not Hookline's may do so"

_OF_THE_ROW = frozenset({"21", "22", "23", "27", "44", "54", "P0"})
"""Classes of SQLSTATE that are about values: https://www.postgresql.org/docs/current/errcodes-appendix.html

All others are outages. Class 42 is one, since Hookline's statements are the same for every row: a table, a column or a
privilege is missing. So are 40 and 55 (another transaction is in the way for a moment) and 0A, 26 and 34 (the session
has lost its prepared statements).
"""
_BY_STATE = {
    "08": outage_reasons.CONNECTION_ENDED,
    "25": "broke off this session's transaction",
    "25006": _READ_ONLY,
    "26": _POOLED,
    "28": outage_reasons.LOGIN_REFUSED,
    "3D": _UNKNOWN,
    "3F": NOT_MIGRATED,
    "40": _CONFLICT,
    "42501": _PRIVILEGES,
    "42703": NOT_MIGRATED,
    "42883": NOT_MIGRATED,
    "42P01": NOT_MIGRATED,
    "42P05": _POOLED,
    "53100": outage_reasons.DISK_FULL,
    "53200": outage_reasons.NO_MEMORY_LEFT,
    "53300": outage_reasons.NO_CONNECTION_LEFT,
    "55": _CONFLICT,
    "55P03": _LOCKED,
    "57014": "ended a statement that took too long",
    "57P": _CHANGING,
    "57P01": outage_reasons.CONNECTION_ENDED,
    "57P04": _UNKNOWN,
    "57P05": outage_reasons.CONNECTION_ENDED,
    "58": "fails at its files",
    "XX": outage_reasons.INTERNAL_ERROR,
}
"""By SQLSTATE, or by its first characters."""
_BY_TEXT = {
    # For an error while connecting there is no SQLSTATE: libpq passes on the text alone.
    "authentication failed": outage_reasons.LOGIN_REFUSED,
    "no password supplied": outage_reasons.LOGIN_REFUSED,
    'role "" does not exist': outage_reasons.LOGIN_REFUSED,
    "no such user": outage_reasons.LOGIN_REFUSED,
    "not permitted to log in": outage_reasons.LOGIN_REFUSED,
    "pg_hba.conf": _LET_IN,
    'database "" does not exist': _UNKNOWN,
    "no such database": _UNKNOWN,
    'permission denied for database ""': _PRIVILEGES,
    "too many c": outage_reasons.NO_CONNECTION_LEFT,
    "connection slots": outage_reasons.NO_CONNECTION_LEFT,
    "no more connections": outage_reasons.NO_CONNECTION_LEFT,
    "the database system is": _CHANGING,
    "not currently accepting connections": "lets nobody in at present",
    "session is read-only": _READ_ONLY,
    "server is in hot standby": _READ_ONLY,
    "does not support ssl": _NO_TLS,
    "unsupported startup parameter": _POOLED,
    "connection refused": outage_reasons.NOTHING_LISTENS,
    "could not translate host name": outage_reasons.NO_SUCH_HOST,
    "failed to resolve host": outage_reasons.NO_SUCH_HOST,
    "name or service not known": outage_reasons.NO_SUCH_HOST,
    "name resolution": outage_reasons.NO_SUCH_HOST,
    "unreachable": outage_reasons.NETWORK_UNREACHABLE,
    "no route to host": outage_reasons.NETWORK_UNREACHABLE,
    "timeout": outage_reasons.TIMED_OUT,
    "timed out": outage_reasons.TIMED_OUT,
    "closed the connection": outage_reasons.CONNECTION_ENDED,
    "closed unexpectedly": outage_reasons.CONNECTION_ENDED,
    "connection reset": outage_reasons.CONNECTION_ENDED,
    "eof detected": outage_reasons.CONNECTION_ENDED,
    "connection is closed": outage_reasons.CONNECTION_ENDED,
    "connection is lost": outage_reasons.CONNECTION_ENDED,
    "certificate": _TLS,
    "ssl": _TLS,
    "no such file or directory": outage_reasons.NOTHING_LISTENS,
    "no such table": NOT_MIGRATED,
    "no such column": NOT_MIGRATED,
}
"""By a part of the message, in small letters and without its quoted values; the first match counts."""
_BY_SQLITE_CODE = {
    5: _LOCKED,
    6: _LOCKED,
    8: "is a file that may not be written to",
    10: "fails at its file",
    11: "is damaged",
    13: outage_reasons.DISK_FULL,
    14: "is a file that cannot be opened",
    26: "is a file of another kind",
}
"""By SQLite's primary result code: https://www.sqlite.org/rescode.html"""

_outages = itertools.count(1)
_newest = 0
"""The number of this process's newest outage."""
_thread = threading.local()


class RefusedError(DatabaseError):
    """A row without a fault was refused, so the next one will be too: an outage, whatever its SQLSTATE says."""


def is_outage(error: BaseException) -> bool:
    """Tell whether an error is the database's, and is about the server or the session, not about the row at hand."""
    if not isinstance(error, Error) or isinstance(error, RefusedError):
        return isinstance(error, RefusedError)
    state = sqlstate(error)
    if state:
        return state[:2] not in _OF_THE_ROW
    return not isinstance(error, (DataError, IntegrityError))


def reason(error: BaseException) -> str:
    """Return what is wrong with the database: words to put after "the database", without any value of the row."""
    if isinstance(error, RefusedError):
        return _REFUSED
    state, cause = sqlstate(error), error.__cause__ or error
    if state:
        known = _BY_STATE.get(state) or _BY_STATE.get(state[:3]) or _BY_STATE.get(state[:2])
        return known or f"answers with an error (SQLSTATE {state})"
    if words := _BY_SQLITE_CODE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF):
        return words
    text = re.sub(r"""(["'])[^"']*\1""", '""', str(cause)).lower()
    words = next((words for part, words in _BY_TEXT.items() if part in text), None)
    return words or f"does not answer ({type(error).__name__})"


def sqlstate(error: BaseException) -> str:
    """Return PostgreSQL's code for an error, or "" if it has none: while connecting, and on SQLite."""
    cause = error.__cause__ or error
    return str(getattr(cause, "sqlstate", None) or getattr(getattr(cause, "diag", None), "sqlstate", None) or "")


def run(work: Callable[[], T], *, may_repeat: Callable[[], bool] = lambda: True) -> T:
    """Run `work`, and once more if an outage ended a connection that was kept from before. Raises Django's errors.

    The work must be safe to do twice: the first commit may have happened, and only its answer was lost.
    """
    while True:
        renew()
        is_kept = connection.connection is not None and not connection.in_atomic_block
        try:
            return work()
        except Error as error:
            if not is_outage(error):
                raise
            drop()
            if not is_kept or not may_repeat():
                raise


def drop() -> None:
    """Close this thread's connection after an outage, and mark those of the other threads stale."""
    _thread.outage = mark_all_stale()
    connection.close()


def mark_others_stale() -> None:
    """Mark the connections of other threads stale: they may lead to a standby. This thread's works and is kept."""
    _thread.outage = mark_all_stale()


def mark_all_stale() -> int:
    """Have every thread close the connection that it keeps before its next use; return the outage's number."""
    global _newest  # noqa: PLW0603  There is one number for the whole process.
    _newest = next(_outages)
    return _newest


def check_writable() -> None:
    """Run an UPDATE that matches no row. Raises if it is refused: by a standby, for example."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE webhooks_source SET name = name WHERE id = 0")


def is_migrated(app: str | None = None) -> bool:
    """Ask the database whether every migration of this release, or of one of its apps, has been applied."""
    from django.db.migrations.executor import MigrationExecutor  # Here: children never need it.

    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes(app))


def database_time() -> datetime | None:
    """Return the time by the database's clock, or None if nothing was ever received."""
    # A small table, with a row as soon as there is a delivery.
    return Source.objects.values_list(Now(), flat=True).first()


def skip_locked(rows: QuerySet[Row]) -> QuerySet[Row]:
    """Lock the rows that no other transaction has locked. SQLite has one writer at a time and needs no row locks."""
    if not connection.features.has_select_for_update_skip_locked:
        return rows
    return rows.select_for_update(skip_locked=True, of=("self",))


def renew(**_signal: Any) -> None:
    """Close this thread's connection if it was opened before the process's newest outage."""
    if getattr(_thread, "outage", 0) != _newest and not connection.in_atomic_block:
        _thread.outage = _newest
        connection.close()


def _on_failed_page(**_signal: Any) -> None:
    """Close the connection after an outage; Django would keep it. Django answers the page's request."""
    error = sys.exc_info()[1]
    if error is not None and is_outage(error):
        drop()


def watch_pages() -> None:
    """Let the threads that serve Django's pages close stale connections too."""
    request_started.connect(renew)
    got_request_exception.connect(_on_failed_page)
