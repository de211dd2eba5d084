"""How long the database works for each page of the console, beside ten million stored deliveries.

    python -m tests.benchmarks.console --deliveries 100000
    python -m tests.benchmarks.console --databases sqlite --pages home dead "/jobs/?state=retrying"

For each database it fills a fresh inbox: deliveries of the last thirty days with a job and an attempt each, of which
one in a hundred waits and one in a thousand is dead, and two days of figures from ten receivers. Then an administrator
asks for each page, in this process: first on a new connection (cold), then again (warm, the median of `--rounds`). It
prints the milliseconds in which statements were carried out and their rows fetched, and how many statements there were.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from statistics import median
from typing import Any

import django
from django.core.management import call_command
from django.db import connection
from django.db.backends.utils import CursorWrapper

from tests.benchmarks.stored import store
from tests.benchmarks.table import Reading, Table
from tests.support.processes import ROOT
from tests.support.stack import fresh_postgres

DATABASES = ("postgres", "sqlite")
RECEIVERS = 10
FAILURES = 40
"""So many different errors the dead jobs have."""
EVERY_DEAD, EVERY_QUEUED = 1_000, 100
FINISH = (
    "UPDATE webhooks_job SET publish_at = due_at WHERE state = 'queued'",
    f"UPDATE webhooks_job SET error = 'KeyError: ' || (id / {EVERY_DEAD} % {FAILURES}),"
    f" fingerprint = id / {EVERY_DEAD} % {FAILURES} WHERE state = 'dead'",
)
TIDY = {"postgresql": "VACUUM ANALYZE webhooks_job", "sqlite": "ANALYZE"}
"""As the database's own upkeep has it. Until that has come by, a row found by an index costs a look at its page."""
FETCHES = ("fetchone", "fetchmany", "fetchall")


class DatabaseClock:
    """Adds up how long statements run. SQLite does most of its work as rows are fetched, so that counts too."""

    def __init__(self) -> None:
        self.seconds, self.statements = 0.0, 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with contextlib.ExitStack() as undo:
            undo.enter_context(connection.execute_wrapper(self._execute))
            for name in FETCHES:
                undo.callback(delattr, CursorWrapper, name)
                setattr(CursorWrapper, name, self._fetch(name))
            yield

    def _execute(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self.statements += 1
        with self._timed():
            return execute(*arguments)

    def _fetch(self, name: str) -> Callable[..., Any]:
        def fetch(wrapper: Any, *arguments: Any) -> Any:
            with self._timed():
                return getattr(wrapper.cursor, name)(*arguments)

        return fetch

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began


def main() -> None:
    told = read_options()
    if len(told.databases) > 1:  # A process of Django's has one database.
        for database in told.databases:
            arguments = ["--deliveries", str(told.deliveries), "--rounds", str(told.rounds), "--databases", database]
            command = [sys.executable, "-m", "tests.benchmarks.console", *arguments]
            subprocess.run([*command, *(["--pages", *told.pages] if told.pages else [])], cwd=ROOT, check=True)
        return
    with installed(*told.databases):
        fill(told.deliveries)
        table = Table(f"Database time of a page beside {told.deliveries:,} deliveries on {connection.vendor}, in ms")
        for page in told.pages or menu():
            table.add(page, measure(page, rounds=told.rounds))
        table.print()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=10_000_000)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--pages", nargs="+", default=[], help="names from the menu, or paths; all of the menu")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    return parser.parse_args()


@contextlib.contextmanager
def installed(database: str) -> Iterator[None]:
    """Set this process up on a migrated database of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as cleanup:
        is_postgres = database == "postgres"
        url = cleanup.enter_context(fresh_postgres()) if is_postgres else f"sqlite:///{directory}/inbox.sqlite3"
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DATABASE_URL": url,
            "HOOKLINE_DATA_DIR": directory,
            "HOOKLINE_LOG_LEVEL": "ERROR",
        }
        django.setup()
        call_command("migrate", verbosity=0)
        try:
            yield
        finally:
            connection.close()


def fill(deliveries: int) -> None:
    store(deliveries, days=30, body_bytes=200, every_dead=EVERY_DEAD, every_queued=EVERY_QUEUED)
    make_figures()
    with connection.cursor() as cursor:
        for statement in (*FINISH, TIDY[connection.vendor]):
            cursor.execute(statement)


def make_figures() -> None:
    """Count two days as a relay does, and let receivers have answered all the time."""
    from webhooks.inbox.database import database_time
    from webhooks.inbox.figures.counting import count_hour, count_minute
    from webhooks.inbox.figures.making import FIRST, HOUR, LATE, MINUTE, hour_of, minute_of
    from webhooks.models import AnswerMinute, FigureMark, QueueMinute

    now = database_time()
    assert now is not None
    minutes = [minute_of(now) - MINUTE * place for place in range(FIRST // MINUTE)]
    AnswerMinute.objects.bulk_create(
        [
            AnswerMinute(at=at, receiver=f"receiver-{place}", result=result, count=20, seconds=0.2, took_1=19, took_4=1)
            for at in minutes
            for place in range(RECEIVERS)
            for result in ("stored", "duplicate", "refused")
        ],
        batch_size=1_000,
    )
    QueueMinute.objects.bulk_create(QueueMinute(at=at, queue="trial", jobs=9, oldest_seconds=1.0) for at in minutes)
    for minute in minutes:
        count_minute(minute)
    for hour in {hour_of(minute) for minute in minutes}:
        count_hour(hour)
    until = minute_of(now) - LATE
    FigureMark.objects.create(
        pk=1, minutes_until=until, hours_until=hour_of(until), written_at=now, resumed_at=now - timedelta(days=1) - HOUR
    )


def menu() -> list[str]:
    from webhooks.console.navigation import MENU

    return [entry.name for entry in MENU]


def measure(page: str, *, rounds: int) -> Reading:
    connection.close()
    cold = ask(page)
    warm = [ask(page) for _ in range(rounds)]
    return {
        "cold": 1_000 * cold.seconds,
        "warm": 1_000 * median(clock.seconds for clock in warm),
        "statements": warm[-1].statements,
    }


def ask(page: str) -> DatabaseClock:
    """Ask for a page, and return how long the database worked for it."""
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(get_user_model().objects.get_or_create(username="op", is_superuser=True, is_staff=True)[0])
    clock = DatabaseClock()
    with clock.running():
        response = client.get(page if page.startswith("/") else reverse(f"console:{page}"))
    assert response.status_code == 200, f"{page}: {response.status_code}"
    return clock


if __name__ == "__main__":
    main()
