"""Points the Celery application at a broker for one test, with the settings that the broker has in production."""

import contextlib
from collections.abc import Iterator
from typing import Any

from celery import current_app
from django.conf import settings

from project.broker_settings import broker_settings

_SETTINGS = {
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_BROKER_USE_SSL": "broker_use_ssl",
    "CELERY_BROKER_TRANSPORT_OPTIONS": "broker_transport_options",
    "CELERY_TASK_DEFAULT_QUEUE_TYPE": "task_default_queue_type",
}


@contextlib.contextmanager
def celery_on(url: str, **tls: Any) -> Iterator[str]:
    """Use the broker at `url` within the block."""
    wanted = broker_settings(url, data_directory=settings.HOOKLINE_DATA_DIR, **tls)
    before = {key: current_app.conf[key] for key in _SETTINGS.values()}
    current_app.conf.update({_SETTINGS[key]: value for key, value in wanted.items() if key in _SETTINGS})
    if "CELERY_TASK_DEFAULT_QUEUE_TYPE" not in wanted:
        current_app.conf.task_default_queue_type = "classic"
    try:
        yield url
    finally:
        current_app.conf.update(before)
