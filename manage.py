#!/usr/bin/env python
"""Hookline's command line: `manage.py receiver | worker | relay | flower`, and the rest of `manage.py help`."""

import os
import signal
import sys
from importlib import import_module


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        # Until Celery hears it: else a SIGTERM ends the start as if it had failed, and is lost on PID 1 of a container.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from project.roles import role_of

    if role := role_of("".join(sys.argv[1:2])):
        os.environ["HOOKLINE_ROLE"] = role  # In the environment, for what the command becomes or starts.
    try:
        import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except ImproperlyConfigured as error:
        sys.exit(f"hookline: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
