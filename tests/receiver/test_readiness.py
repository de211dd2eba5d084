"""What `/readyz` says of the database is what a delivery would meet: while one is refused, no probe says otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client

from tests.support.deliveries import PATH, body_of, headers_for
from tests.support.processes import wait_until
from tests.support.receiving import fresh_receiver
from webhooks.models import Delivery, Job, Payload, Source
from webhooks.receiver import views

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

SECRET = "the secret of this hook"
TABLES = ("webhooks_source", "webhooks_delivery", "webhooks_payload", "webhooks_job")


@pytest.fixture(autouse=True)
def receiver(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.HOOKLINE_SECRETS = {"github": [SECRET]}
    monkeypatch.setattr(views, "FRESH_SECONDS", 0.0)
    with fresh_receiver():
        yield


def said() -> tuple[str, list[str]]:
    told: dict[str, Any] = Client().get("/readyz").json()
    return told["database"], told["reasons"]


def is_accepted() -> bool:
    headers = headers_for(body_of(), secret=SECRET)
    content_type = headers.pop("Content-Type")
    return Client().generic("POST", PATH, body_of(), content_type, headers=headers).status_code == 202


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def refusing(table: str, *, state: str = "P0001") -> Iterator[None]:
    """Have a trigger refuse every row that is inserted into a table."""
    made: tuple[str, ...]
    undone: tuple[str, ...]
    if connection.vendor == "postgresql":
        made = (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'not here' USING ERRCODE = '{state}'; END $$",
            f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        undone = (f"DROP TRIGGER refuse ON {table}", "DROP FUNCTION refuse()")
    else:
        made = (f"CREATE TRIGGER refuse BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'not here'); END",)
        undone = ("DROP TRIGGER refuse",)
    execute(*made)
    try:
        yield
    finally:
        execute(*undone)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_takes_no_row_is_told_and_no_look_says_otherwise(table: str) -> None:
    with refusing(table):
        assert not is_accepted()
        reasons = [
            "the database refuses an ordinary delivery; a trigger or a constraint that is not Hookline's may do so"
        ]
        wait_until(lambda: said() == ("unavailable", reasons), what="it is told", seconds=10)
        for _ in range(5):
            assert said() == ("unavailable", reasons)
    wait_until(lambda: said() == ("available", []), what="it is told to be back", seconds=10)


@pytest.mark.parametrize(
    ("state", "reason"),
    [("42501", "denies this user a privilege that is needed"), ("53100", "has a full disk")],
)
def test_what_a_delivery_met_is_still_told_after_looks(state: str, reason: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL's errors have such a state")
    with refusing("webhooks_job", state=state):
        assert not is_accepted()
        for _ in range(5):
            assert said() == ("unavailable", [f"the database {reason}"])
    wait_until(lambda: said() == ("available", []), what="it is told to be back", seconds=10)


def test_a_table_that_is_locked_is_told_and_no_look_is_left_waiting_for_it() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite locks the whole file")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        with other.transaction():
            other.execute("LOCK TABLE webhooks_payload IN SHARE MODE")
            reasons = ["the database is locked by another process"]
            wait_until(lambda: said() == ("unavailable", reasons), what="it is told", seconds=10)
        wait_until(lambda: said() == ("available", []), what="it is told to be back", seconds=10)
        wait_until(lambda: other.execute(waiting).fetchone() == (0,), what="nobody waits for a lock")


def test_a_look_leaves_nothing_behind() -> None:
    assert said() == ("available", [])
    assert [model.objects.count() for model in (Source, Delivery, Payload, Job)] == [0, 0, 0, 0]
