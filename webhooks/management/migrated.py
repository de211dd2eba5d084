"""Database access for commands: one sentence for the person if the database does not answer or is not migrated."""

from collections.abc import Callable
from typing import TypeVar

from django.core.management.base import CommandError
from django.db import Error, connection

from webhooks.inbox import database
from webhooks.inbox.destinations import known

Result = TypeVar("Result")


def on_migrated_database(work: Callable[[], Result], *, app: str | None = None) -> Result:
    """Return what `work` returns. It needs the tables of `app`, or of all apps. Raises CommandError."""
    try:
        if database.is_migrated(app):
            known.refresh()
            return work()
    except Error as error:
        raise CommandError(f"The database {database.reason(error)}; {_which()}.") from None
    raise CommandError(f"The database {database.NOT_MIGRATED}.")


def _which() -> str:
    """Return which database it is, without user and password."""
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"it is the file {given['NAME']}"
    return f"it is {given['NAME']} at {given['HOST'] or 'localhost'}:{given['PORT'] or 5432}"
