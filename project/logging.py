"""How log records look: one line of text for people, or one JSON object for machines.

Code logs a fixed sentence and puts what varies into `extra`; both formats show those fields.
"""

import logging
from http import HTTPStatus
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FieldsFormatter(logging.Formatter):
    """Appends a record's extra fields to its line as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        line, _, trace = super().format(record).partition("\n")
        fields = " ".join(f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        return "\n".join(part for part in (f"{line}  {fields}".rstrip(), trace) if part)


def _is_unintended(record: logging.LogRecord) -> bool:
    """Leave out 503 answers: the code that decides on them logs the reason once, not for each request."""
    return getattr(record, "status_code", None) != HTTPStatus.SERVICE_UNAVAILABLE


def _without_traceback(record: logging.LogRecord) -> bool:
    """Make it a warning of one line: anybody can send a request with a wrong host; that is no error of Hookline."""
    record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    record.exc_info = None
    return True


def logging_settings(*, style: str, level: str) -> dict[str, Any]:
    """Return Django's LOGGING for `style` "text" or "json", on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {
                "()": FieldsFormatter,
                "format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s",
            },
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
                "rename_fields": {"asctime": "at", "levelname": "level", "name": "logger"},
            },
        },
        "filters": {
            "unintended": {"()": "django.utils.log.CallbackFilter", "callback": _is_unintended},
            "without_traceback": {"()": "django.utils.log.CallbackFilter", "callback": _without_traceback},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": style}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Celery's own line for each received and finished message; the inbox holds the same, by job.
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "django.request": {"level": "ERROR", "filters": ["unintended"]},
            "django.security.DisallowedHost": {"filters": ["without_traceback"]},
        },
    }
