"""How log records look: one line of text for people, or one JSON object for machines.

Code logs a fixed sentence and puts what varies into `extra`; both formats show those fields.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TextIO

from webhooks.running_job import log_fields

RESET, DIM, BOLD = "\033[0m", "\033[2m", "\033[1m"
CYAN, GREEN, YELLOW, RED = "\033[36m", "\033[32m", "\033[33m", "\033[31m"
COLOURS = {"DEBUG": CYAN, "INFO": GREEN, "WARNING": YELLOW, "ERROR": RED, "CRITICAL": f"{BOLD}{RED}"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FieldsFormatter(logging.Formatter):
    """Appends a record's extra fields to its line as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        line, _, trace = super().format(record).partition("\n")
        fields = " ".join(f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        return "\n".join(part for part in (f"{line}  {self.fields(fields)}".rstrip(), trace) if part)

    def fields(self, fields: str) -> str:
        return fields


class ColouredFormatter(FieldsFormatter):
    """The same for a terminal: the level in its colour, and what is around the message dim."""

    def format(self, record: logging.LogRecord) -> str:
        coloured = logging.makeLogRecord(vars(record))
        coloured.levelname = f"{COLOURS.get(record.levelname, '')}{record.levelname:7}{RESET}"
        return super().format(coloured)

    def fields(self, fields: str) -> str:
        return f"{DIM}{fields}{RESET}" if fields else ""


class JobFields(logging.Filter):
    """Adds the fields of the job that this process runs to each record: to those of its handler as well.

    If a handler gives a field such a name itself, its value is kept as `own_<name>`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in log_fields().items():
            own = getattr(record, name, value)
            setattr(record, name, value)
            if own != value:
                setattr(record, f"own_{name}", own)
        return True


def has_colours(stream: TextIO | None, environment: Mapping[str, str]) -> bool:
    """Tell whether a stream is a terminal where colours are wanted: https://no-color.org"""
    return stream is not None and stream.isatty() and not environment.get("NO_COLOR")


def _is_unintended(record: logging.LogRecord) -> bool:
    """Leave out 503 answers: the code that decides on them logs the reason once, not for each request."""
    return getattr(record, "status_code", None) != HTTPStatus.SERVICE_UNAVAILABLE


def _without_traceback(record: logging.LogRecord) -> bool:
    """Make it a warning of one line: anybody can send a request with a wrong host; that is no error of Hookline."""
    record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    record.exc_info = None
    return True


def logging_settings(*, style: str, level: str, is_coloured: bool = False) -> dict[str, Any]:
    """Return Django's LOGGING for `style` "text" or "json", on standard error. Only text may be coloured."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {
                "()": FieldsFormatter,
                "format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s",
            },
            "coloured": {
                "()": ColouredFormatter,
                "format": f"{DIM}%(asctime)s{RESET} %(levelname)s {DIM}%(name)s:{RESET} %(message)s",
            },
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
                "rename_fields": {"asctime": "at", "levelname": "level", "name": "logger"},
            },
        },
        "filters": {
            "job": {"()": JobFields},
            "unintended": {"()": "django.utils.log.CallbackFilter", "callback": _is_unintended},
            "without_traceback": {"()": "django.utils.log.CallbackFilter", "callback": _without_traceback},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "coloured" if is_coloured and style == "text" else style,
                "filters": ["job"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Celery's own line for each received and finished message; the inbox holds the same, by job.
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            # Lines for each call of GitHub's API; a pass over its log counts them.
            "httpcore": {"level": "WARNING"},
            "httpx": {"level": "WARNING"},
            "django.request": {"level": "ERROR", "filters": ["unintended"]},
            "django.security.DisallowedHost": {"filters": ["without_traceback"]},
        },
    }
