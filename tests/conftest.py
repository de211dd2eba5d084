"""The suite's surroundings: a data directory of its own, no settings of the developer's, real services or a clear skip.

`HOOKLINE_TEST_DATABASE_URL` runs the Django tests on another database than the embedded SQLite file; `make test` uses
it to run the tests marked `both_databases` a second time, on PostgreSQL.
"""

import os
import shutil
import signal
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from tests.support import services
from tests.support.processes import environment_without_settings

DATA_DIRECTORY = Path(tempfile.mkdtemp(prefix="hookline-tests-"))

at_end = ExitStack()

# How long a drawn example takes is this machine's affair.
hypothesis.settings.register_profile("hookline", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("hookline")

_LONGEST = (
    "test_every_page",
    "test_at_night",
    "test_faults",
    "test_receiver_stop",
    "test_end_to_end",
    "test_drain",
    "test_quickstart",
    "test_descendants",
    "test_probes",
    "test_job_life",
    "test_receiver_properties",
    "test_relay_probes",
    "test_deploy_scripts",
    "test_stop_workers",
    "test_worker",
    "test_failover",
    "test_consumer",
    "test_front",
    "test_stopping",
    "test_worker_reports",
    "test_fuzz",
)
"""By `pytest --durations=0`, from two to ten minutes each; the others take less than two."""
_SKIPPED = "not run for want of a service: "


def pytest_configure(config: pytest.Config) -> None:
    """Load the settings here: pytest-django, told of them in pyproject.toml or the environment, loads them before."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # As a shell's background jobs have them; programs inherit it.
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    kept = environment_without_settings(os.environ)
    for name in set(os.environ) - set(kept):
        del os.environ[name]
    if config.getoption("dist", "no") != "no" and not services.WORKER:
        return  # It runs no test itself. What it put into the environment, its processes would begin with.
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    os.environ["HOOKLINE_DATA_DIR"] = str(DATA_DIRECTORY)
    if url := os.environ.get("HOOKLINE_TEST_DATABASE_URL"):
        os.environ["DATABASE_URL"] = url

    if services.WORKER:
        at_end.enter_context(services.own_brokers())

    import django
    from django.conf import settings

    django.setup()
    # A password's usual hash takes a third of a second, and no test is about its strength.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    from tests.support import emptying

    emptying.install()
    # The tests' processes keep to what they are given.
    os.environ.pop("DATABASE_URL", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left with one of them at the end."""
    rank = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` runs the suite in: its tests mostly wait for others that they started.

    None beside this one where RabbitMQ is there, and cannot give each a virtual host.
    """
    if "rabbitmq" not in services.missing() and not services.can_make_virtual_hosts():
        return 0
    return 2 * (os.cpu_count() or 1)


def pytest_unconfigure() -> None:
    at_end.close()
    shutil.rmtree(DATA_DIRECTORY, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """Put the SQLite test database into a file: an in-memory one cannot be shared by threads and processes."""
    from django.db import connection

    if connection.vendor != "sqlite":
        return
    connection.settings_dict.setdefault("TEST", {})["NAME"] = str(DATA_DIRECTORY / "tests.sqlite3")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose service is missing, or fail it where services are required."""
    for name in sorted(services.missing()):
        if item.get_closest_marker(name) is None:
            continue
        if services.REQUIRED:
            pytest.fail(services.why_missing(name), pytrace=False)
        pytest.skip(_SKIPPED + name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = (report.longrepr[2] for report in terminalreporter.getreports("skipped"))
    absent = Counter(reason.partition(_SKIPPED)[2] for reason in reasons if _SKIPPED in reason)
    if absent:
        counts = ", ".join(f"{name} ({count} tests)" for name, count in sorted(absent.items()))
        terminalreporter.write_line(_SKIPPED + counts, yellow=True)
