"""The real services that tests use: where they are, and which of them are there.

`python -m tests.support.services NAME` exits 0 where that service is there, for the Makefile.
"""

import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit, urlunsplit

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""Which of the suite's processes this is, from `gw0` on; nothing where there is one. Those it starts inherit it."""

POSTGRES_URL = os.environ.get("HOOKLINE_TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
RABBITMQ_URL = os.environ.get("HOOKLINE_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS_URL = os.environ.get("HOOKLINE_TEST_REDIS_URL", "redis://127.0.0.1:6379/15")

URLS = {"postgres": POSTGRES_URL, "rabbitmq": RABBITMQ_URL, "redis": REDIS_URL}
"""The URL of each service, by the name of the marker of the tests that need it."""

PROGRAMS = {
    "pgbouncer": shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"),
    "browser": shutil.which(os.environ.get("HOOKLINE_TEST_CHROMIUM", "chromium")),
    "prometheus": shutil.which("prometheus"),
    "promtool": shutil.which("promtool"),
}
"""What tests start themselves: the path of each, or None where it is not installed."""

REQUIRED = os.environ.get("HOOKLINE_REQUIRE_SERVICES") == "1"
"""Whether the want of a service is a failure, as it is in continuous integration."""

IS_WHOLE = os.environ.get("HOOKLINE_TEST_WHOLE") == "1"
"""Whether what only repeats is run as well, as `make test WHOLE=1` has it."""

_STANDARD_PORTS = {"postgres": 5432, "rabbitmq": 5672, "redis": 6379}


def repeats(count: int) -> int:
    """Return how often to try what is drawn at random: so often in the whole suite, and a sixth of it otherwise."""
    return count if IS_WHOLE else max(10, count // 6)


@contextmanager
def own_brokers() -> Iterator[None]:
    """Give this one of several processes a virtual host and a Redis database of its own."""
    number = int(WORKER.removeprefix("gw"))
    redis = urlsplit(REDIS_URL)
    _use("redis", urlunsplit(redis._replace(path=f"/{(int(redis.path[1:]) - number) % 16}")))
    if "rabbitmq" in missing():
        yield
        return
    with virtual_host() as url:
        _use("rabbitmq", url)
        yield


def _use(name: str, url: str) -> None:
    URLS[name] = globals()[f"{name.upper()}_URL"] = url
    os.environ[f"HOOKLINE_TEST_{name.upper()}_URL"] = url  # For the processes that tests start.


@contextmanager
def virtual_host() -> Iterator[str]:
    """Make a RabbitMQ virtual host, and delete it at the end."""
    name, parts = f"hookline_{uuid.uuid4().hex[:12]}", urlsplit(RABBITMQ_URL)
    _rabbitmqctl("add_vhost", name)
    try:
        _rabbitmqctl("set_permissions", "-p", name, parts.username or "guest", ".*", ".*", ".*")
        yield urlunsplit(parts._replace(path=f"/{name}"))
    finally:
        _rabbitmqctl("delete_vhost", name)


@cache
def can_make_virtual_hosts() -> bool:
    """Return whether this user may administer the RabbitMQ for tests, which is root where a package installed it."""
    if not shutil.which("rabbitmqctl"):
        return False
    return subprocess.run(["rabbitmqctl", "--quiet", "list_vhosts"], capture_output=True, check=False).returncode == 0


def _rabbitmqctl(*arguments: str) -> None:
    subprocess.run(["rabbitmqctl", "--quiet", *arguments], check=True, capture_output=True, timeout=60)


@cache
def missing() -> frozenset[str]:
    """Return the names of the services that do not answer or are not installed. Asked once a run."""
    silent = {name for name, url in URLS.items() if not _answers(url, standard_port=_STANDARD_PORTS[name])}
    return frozenset(silent | {name for name, path in PROGRAMS.items() if path is None})


def why_missing(name: str) -> str:
    if name in PROGRAMS:
        return f"{name} is not installed"
    return f"{name} does not answer at HOOKLINE_TEST_{name.upper()}_URL"


def _answers(url: str, *, standard_port: int) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or standard_port), timeout=2):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(1 if missing() & set(sys.argv[1:]) else 0)
