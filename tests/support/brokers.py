"""The brokers that tests are parametrised over. What starts programs shows its point on one; the others repeat it."""

from typing import Any

import pytest


def repeated(*values: Any, marks: Any = (), id: str | None = None) -> Any:
    """Return a parameter that only repeats what another one shows, and takes long."""
    marks = marks if isinstance(marks, tuple | list) else (marks,)
    return pytest.param(*values, marks=[pytest.mark.slow, *marks], id=id)


RABBITMQ = pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)
REDIS = pytest.param("redis", marks=pytest.mark.redis)
REPEATED_ON_REDIS = repeated("redis", marks=pytest.mark.redis)

SERVERS = [RABBITMQ, REDIS]
BROKERS = ["filesystem", *SERVERS]
"""For tests that are quick on each of them."""

FOR_PROGRAMS = ["filesystem", repeated("rabbitmq", marks=pytest.mark.rabbitmq), REPEATED_ON_REDIS]
"""For tests that start programs: the rest is run by `make test WHOLE=1`."""

SERVERS_FOR_PROGRAMS = [RABBITMQ, REPEATED_ON_REDIS]
