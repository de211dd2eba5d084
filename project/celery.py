"""The Celery application. `workers` registers one task for each subscription on it."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("hookline")
app.config_from_object("django.conf:settings", namespace="CELERY")
