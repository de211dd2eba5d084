"""The Celery application. `workers` registers one task for each subscription on it."""

import os
import sys
from typing import Any

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

PREFIX = "CELERY_"


def _configuration() -> dict[str, Any]:
    """Return Celery's settings and no others: a worker shows its configuration to anybody on the broker who asks."""
    return {
        name.removeprefix(PREFIX).lower(): getattr(settings, name) for name in dir(settings) if name.startswith(PREFIX)
    }


app = Celery("hookline")
app.add_defaults(_configuration)
# Otherwise Celery's Django fixup closes the database connections before and after each task.
app.conf["CELERY_DB_REUSE_MAX"] = sys.maxsize
