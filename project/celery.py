"""The Celery application. `workers` registers one task for each subscription on it."""

import os
import sys

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("hookline")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery's Django fixup closes the database's connections before and after each task; workers/task.py keeps its own.
app.conf["CELERY_DB_REUSE_MAX"] = sys.maxsize
