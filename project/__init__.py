"""Composition: settings, URLs, the Celery application, WSGI, logging. No rules."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
