"""The job that this process runs, as fields for every log line: a child of a worker runs one job at a time.

They belong to the process and not to the context of a thread or a task: threads that the handler starts log lines of
the job too.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_fields: Mapping[str, object] = {}


def log_fields() -> Mapping[str, object]:
    """Return the fields of the job that runs, or none."""
    return _fields


@contextmanager
def running(fields: Mapping[str, object]) -> Iterator[None]:
    """Give the process's log lines these fields meanwhile."""
    global _fields  # noqa: PLW0603  A process runs one job at a time.
    _fields = fields
    try:
        yield
    finally:
        _fields = {}
