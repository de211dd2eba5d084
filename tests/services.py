"""The real services that tests use: where they are, and which of them answer.

`python -m tests.services NAME` exits 0 where that service answers, for the Makefile.
"""

import os
import socket
import sys
from functools import cache
from urllib.parse import urlsplit

POSTGRES_URL = os.environ.get("HOOKLINE_TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
RABBITMQ_URL = os.environ.get("HOOKLINE_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS_URL = os.environ.get("HOOKLINE_TEST_REDIS_URL", "redis://127.0.0.1:6379/15")

URLS = {"postgres": POSTGRES_URL, "rabbitmq": RABBITMQ_URL, "redis": REDIS_URL}
"""The URL of each service, by the name of the marker of the tests that need it."""

REQUIRED = os.environ.get("HOOKLINE_REQUIRE_SERVICES") == "1"
"""Whether the want of a service is a failure, as it is in continuous integration."""

_STANDARD_PORTS = {"postgres": 5432, "rabbitmq": 5672, "redis": 6379}


@cache
def missing() -> frozenset[str]:
    """Return the names of the services that do not answer. Asked once a run."""
    return frozenset(name for name, url in URLS.items() if not _answers(url, standard_port=_STANDARD_PORTS[name]))


def _answers(url: str, *, standard_port: int) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or standard_port), timeout=2):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(1 if missing() & set(sys.argv[1:]) else 0)
