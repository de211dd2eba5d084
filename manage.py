#!/usr/bin/env python
"""Hookline's command line: `manage.py receiver | worker | relay | flower`, and the rest of `manage.py help`."""

import os
import signal
import sys
import traceback
from importlib import import_module


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from project.roles import role_of

    if role := role_of("".join(sys.argv[1:2])):
        os.environ["HOOKLINE_ROLE"] = role  # Programs that the command executes or starts get it too.
    try:
        import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except ImproperlyConfigured as error:
        sys.exit(f"hookline: {error}")
    _set_up()
    from django.db import Error

    try:
        execute_from_command_line(sys.argv)
    except Error as error:
        from webhooks.inbox import database

        if "--traceback" in sys.argv or not database.is_outage(error):
            raise
        sys.exit(f"hookline: the database {database.reason(error)}; --traceback shows more")


def _set_up() -> None:
    """Import the apps. If one of the team's fails, exit with a sentence: which error, and where."""
    import django
    from django.conf import settings

    try:
        django.setup()
    except Exception as error:
        if "--traceback" in sys.argv or settings.HOOKLINE_APPS == settings.HOOKLINE_DEFAULT_APPS:
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        file, line, said = place.filename, place.lineno, str(error)
        if isinstance(error, SyntaxError):  # Raised by the importer: the error itself has the place.
            file, line, said = error.filename or file, error.lineno, error.msg
        sys.exit(
            f"hookline: HOOKLINE_APPS: importing the apps fails with {type(error).__name__}: {said}"
            f" ({file}:{line}); mend that app, or correct its name; --traceback shows more"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        # Blocked until Celery handles it. Otherwise a SIGTERM would look like a failed start, or, in a container where
        # this is process 1, have no effect at all.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    from webhooks.leaving import run_and_leave

    run_and_leave(main)
