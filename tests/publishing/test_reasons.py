"""What is said of a database or a broker that cannot be used: what a person can act on, and no value."""

import errno
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis.exceptions
from amqp.exceptions import AccessRefused, ConnectionForced, NotAllowed, PreconditionFailed
from django.db import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from django.db.utils import ConnectionHandler

from project.environment import database as settings_of
from tests.faults.servers import OwnPostgres, own_postgres, postgres_program
from tests.support.brokers import repeated
from tests.support.processes import free_port, manage
from webhooks.inbox import database
from webhooks.outage_log import OutageLog
from webhooks.publishing import reasons

pytestmark = pytest.mark.django_db


def error_of(sqlstate: str, wrapper: type[Error] = OperationalError) -> Error:
    """Return Django's error as it wraps one of psycopg's."""
    error = wrapper("told")
    error.__cause__ = type("FromPostgres", (psycopg.Error,), {"sqlstate": sqlstate})("told")
    return error


@pytest.mark.parametrize(
    "sqlstate",
    [
        "08006",
        "0A000",
        "25006",
        "25P02",
        "25P03",
        "26000",
        "28P01",
        "3D000",
        "40001",
        "40P01",
        "42501",
        "42P01",
        "53100",
        "53300",
        "55P03",
        "57014",
        "57P01",
        "57P03",
        "57P05",
        "58030",
        "XX000",
    ],
)
@pytest.mark.parametrize("wrapper", [OperationalError, InternalError, ProgrammingError, DatabaseError])
def test_what_is_about_server_or_session_is_an_outage_whatever_class_it_comes_in(
    sqlstate: str, wrapper: type[Error]
) -> None:
    assert database.is_outage(error_of(sqlstate, wrapper))


@pytest.mark.parametrize("sqlstate", ["21000", "22001", "22P02", "23505", "44000", "54000", "P0001"])
@pytest.mark.parametrize("wrapper", [OperationalError, InternalError, DatabaseError])
def test_what_is_about_the_row_is_none(sqlstate: str, wrapper: type[Error]) -> None:
    assert not database.is_outage(error_of(sqlstate, wrapper))


def test_without_a_code_the_class_decides() -> None:
    assert all(map(database.is_outage, (OperationalError(), InterfaceError(), InternalError(), DatabaseError())))
    assert not any(map(database.is_outage, (DataError(), IntegrityError(), ValueError(), OSError())))


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    if not postgres_program("postgres"):
        pytest.skip("PostgreSQL's programs are not installed")
    with own_postgres() as server:
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute("CREATE ROLE scram LOGIN PASSWORD 'right'")
            admin.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 0")
            rules = Path(str((admin.execute("SHOW hba_file").fetchone() or [""])[0]))
            rules.write_text(
                "host all scram 127.0.0.1/32 scram-sha-256\nhost all postgres,few,gone 127.0.0.1/32 trust\n"
            )
            admin.execute("SELECT pg_reload_conf()")
        yield server


def asked(url: str, *statements: str) -> Error | None:
    connection = ConnectionHandler({"default": settings_of(url)})["default"]
    try:
        with connection.cursor() as cursor:
            for statement in statements or ["SELECT 1"]:
                cursor.execute(statement)
    except Error as error:
        return error
    finally:
        connection.close()
    return None


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("postgres@", "scram:hush@"), "refuses the login; look at user and password"),
        (("postgres@", "gone@"), "refuses the login; look at user and password"),
        (("postgres@", "stranger@"), "lets no such client in; look at pg_hba.conf, which may want TLS"),
        (("postgres@", "few@"), "has no connection left"),
        (("/postgres", "/nowhere"), "has no database of that name"),
        (("/postgres", "/template0"), "lets nobody in at present"),
        (("/postgres", "/postgres?sslmode=require"), "does not speak TLS, and sslmode asks for it"),
        (("127.0.0.1", "ssl.certificate.invalid"), "has a host name that is not found"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_a_server_that_lets_nobody_in_is_told_of(server: OwnPostgres, change: tuple[str, str], reason: str) -> None:
    head, _, tail = server.url("postgres").partition("://")
    url = f"{head}://{tail.replace(*change)}"
    error = wait_for_rules(url)
    assert database.is_outage(error)
    assert database.reason(error) == reason


def wait_for_rules(url: str) -> Error:
    """Ask until the server has read its rules, which it does a moment after it is told to."""
    deadline = time.monotonic() + 20
    while (error := asked(url)) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert error is not None
    return error


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["SELECT * FROM webhooks_job"], "is not migrated; run manage.py migrate"),
        (
            ["SET default_transaction_read_only = on", "CREATE TABLE t ()"],
            "is read-only; it may be a standby, or not promoted yet",
        ),
        (["SELECT pg_terminate_backend(pg_backend_pid())"], "ended the connection"),
        (["SET statement_timeout = 10", "SELECT pg_sleep(60)"], "ended a statement that took too long"),
    ],
)
def test_a_session_that_is_refused_something_is_told_of(
    server: OwnPostgres, statements: list[str], reason: str
) -> None:
    error = asked(server.url("postgres"), *statements)
    assert error is not None
    assert database.is_outage(error)
    assert database.reason(error) == reason


def test_a_port_where_nobody_listens_is_told_of(tmp_path: Path) -> None:
    error = asked(f"postgres://postgres@127.0.0.1:{free_port()}/postgres")
    assert error is not None
    assert database.reason(error) == "refuses the connection: nothing listens there"


def test_a_file_that_is_no_database_or_has_no_tables_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"not a database, " * 512)
    bare = asked(f"sqlite:///{tmp_path}/bare", "SELECT * FROM webhooks_job")
    other = asked(f"sqlite:///{file}")
    assert bare is not None
    assert other is not None
    assert database.reason(bare) == "is not migrated; run manage.py migrate"
    assert database.reason(other) == "is a file of another kind"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            AccessRefused("ACCESS_REFUSED - Login was refused using PLAIN"),
            "refuses the login; look at user and password",
        ),
        (AccessRefused("access to queue 'q' refused"), "denies this user a permission that is needed"),
        (NotAllowed("vhost hush not found"), "has no such virtual host, or does not let this user in"),
        (ConnectionForced("shutdown"), "is closing its connections"),
        (PreconditionFailed("inequivalent arg"), "holds the queue with other properties"),
        (redis.AuthenticationError("hush", status_code="WRONGPASS"), "refuses the login; look at user and password"),
        (redis.AuthenticationError("hush", status_code="NOAUTH"), "wants a login; give user and password"),
        (redis.ResponseError("MISCONF Redis is configured to save"), "cannot write to its disk"),
        (redis.ReadOnlyError("hush", status_code="READONLY"), "is read-only; it may be a replica"),
        (redis.BusyLoadingError("hush", status_code="LOADING"), "is starting"),
        (redis.exceptions.MasterDownError("hush", status_code="MASTERDOWN"), "has lost its primary"),
        (redis.exceptions.OutOfMemoryError("hush", status_code="OOM"), "has no memory left"),
        (
            redis.exceptions.NoPermissionError("hush", status_code="NOPERM"),
            "denies this user a command, a key or a channel",
        ),
        (socket.gaierror(-2, "Name or service not known"), "has a host name that is not found"),
        (TimeoutError(), "did not answer in time"),
        (OSError(errno.ENOSPC, "hush"), "has a full disk"),
        (RuntimeError("hush"), "does not answer (RuntimeError)"),
    ],
)
def test_what_the_broker_replies_is_told_in_words(error: Exception, reason: str) -> None:
    wrapped = OSError("hush")
    wrapped.__cause__ = error
    assert reasons.reason(error) == reasons.reason(wrapped) == reason


def test_what_fails_again_and_again_is_logged_at_once_and_then_at_growing_intervals(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    log = OutageLog(logging.getLogger("trial"), "it fails")
    for second in range(3600):
        now[0] = float(second)
        log.failed("down")
    told = [record.__dict__["for_seconds"] for record in caplog.records]
    assert told == [0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030]
    log.failed("refused")
    now[0] += 1000
    log.failed("down")
    assert [record.__dict__["times"] for record in caplog.records[-2:]] == [1, 1]


@pytest.mark.parametrize("command", ["inbox", "stop_workers", repeated("prune"), repeated("migrate")])
def test_a_command_says_it_in_a_sentence(command: str, tmp_path: Path) -> None:
    url = f"postgres://someone:hush@127.0.0.1:{free_port()}/hookline"
    ended = manage(command, HOOKLINE_DATA_DIR=tmp_path, DATABASE_URL=url)
    assert ended.returncode == 1
    assert "database refuses the connection: nothing listens there" in ended.stderr
    assert not any(word in ended.stderr for word in ("Traceback", "hush", "someone"))
