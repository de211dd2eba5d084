#!/usr/bin/env python
"""Hookline's command line: `manage.py receiver | worker | relay | flower`, and the rest of `manage.py help`."""

import os
import sys
from importlib import import_module


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except ImproperlyConfigured as error:
        sys.exit(f"hookline: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
