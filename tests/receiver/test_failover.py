"""A PostgreSQL that is demoted and promoted under receiver, worker and relay: all of them are back by themselves."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.signals import request_started
from django.db import InternalError, OperationalError, connection

from tests.support import services
from tests.support.processes import wait_until
from tests.support.receiving import close
from tests.support.stack import Stack, http, running_stack
from webhooks.inbox import database
from webhooks.inbox.committer import Committer, InboxUnavailableError

THREADS = 8
READ_ONLY = "the database is read-only; it may be a standby, or not promoted yet"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path, database="postgres", broker="filesystem") as stack:
        stack.migrate()
        yield stack


def demote(stack: Stack) -> None:
    """Make the database read-only and end its connections, as a failover does to those of the old primary."""
    name = stack.database_url.rpartition("/")[2]
    with psycopg.connect(services.POSTGRES_URL, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def promote(stack: Stack) -> None:
    """Undo it for new connections; those that were opened meanwhile stay read-only."""
    name = stack.database_url.rpartition("/")[2]
    with psycopg.connect(services.POSTGRES_URL, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())


def ready(stack: Stack) -> dict[str, Any]:
    answer = http.request("GET", f"http://127.0.0.1:{stack.port}/readyz", timeout=10)
    assert answer.status == 200
    told: dict[str, Any] = json.loads(answer.data)
    return told


def send_many(stack: Stack) -> list[int]:
    with ThreadPoolExecutor(3 * THREADS) as senders:
        return list(senders.map(lambda _: stack.send("work")[0], range(3 * THREADS)))


@pytest.mark.postgres
def test_every_thread_of_the_receiver_is_back_after_a_promotion(stack: Stack) -> None:
    stack.start("receiver", HOOKLINE_RECEIVER_THREADS=str(THREADS))
    stack.wait_until_ready()
    assert set(send_many(stack)) == {202}
    demote(stack)
    assert set(send_many(stack)) == {503}
    assert {**ready(stack), "broker": ""} == {
        "status": "ready",
        "faults": [],
        "database": "unavailable",
        "broker": "",
        "reasons": [READ_ONLY],
    }
    promote(stack)
    wait_until(lambda: stack.send("work")[0] == 202, what="a delivery is accepted", seconds=10)
    assert set(send_many(stack)) == {202}
    assert ready(stack)["database"] == "available"
    assert f"inbox unavailable  reason={READ_ONLY.removeprefix('the database ')}" in stack.logs()


@pytest.mark.postgres
def test_readiness_tells_of_the_database_although_no_delivery_comes(stack: Stack) -> None:
    stack.start("receiver")
    stack.wait_until_ready()
    wait_until(lambda: ready(stack)["database"] == "available", what="it is available")
    demote(stack)
    wait_until(lambda: ready(stack)["reasons"] == [READ_ONLY], what="it is told to be read-only")
    promote(stack)
    wait_until(lambda: ready(stack)["database"] == "available", what="it is told to be back")


@pytest.mark.postgres
@pytest.mark.slow
def test_worker_and_relay_go_on_after_a_promotion_and_no_job_is_lost(stack: Stack) -> None:
    stack.start_all()
    assert stack.send("work", seconds=2)[0] == 202
    wait_until(lambda: stack.marks("begun"), what="it runs", seconds=120)
    for _ in range(2 * THREADS):  # Some of these wait for a child.
        assert stack.send("work", seconds=0.5)[0] == 202
    demote(stack)
    line = f"no jobs are claimed and no outcomes recorded  reason={READ_ONLY}"
    wait_until(lambda: line in stack.logs(), what="an outcome to wait for the database")
    promote(stack)
    stack.wait_until_drained()
    assert stack.states() == {"succeeded": 2 * THREADS + 1}
    # On a slow machine a run may outlast its lease here; none is an attempt that failed.
    outcomes = {outcome for (outcome,) in stack.rows("SELECT DISTINCT outcome FROM webhooks_attempt")}
    assert outcomes <= {"succeeded", "lost"}
    assert "Traceback" not in stack.logs()


def become_read_only() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_a_connection_that_was_kept_is_given_up_for_a_new_one() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has sessions that are read-only")
    become_read_only()
    with pytest.raises(InternalError):
        database.check_writable()
    database.run(database.check_writable)


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_after_an_outage_no_thread_goes_on_with_a_connection_from_before() -> None:
    met, go_on = threading.Barrier(2), threading.Event()

    def keep() -> tuple[Any, Any]:
        database.run(database.check_writable)
        before = connection.connection
        met.wait(10)
        go_on.wait(10)
        database.run(database.check_writable)
        after = connection.connection
        connection.close()
        return before, after

    with ThreadPoolExecutor(1) as other:
        kept = other.submit(keep)
        met.wait(10)
        database.drop()
        go_on.set()
        before, after = kept.result(10)
    assert before is not after


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_a_page_that_fails_for_the_session_gives_its_connection_up(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has sessions that are read-only")
    client.raise_request_exception = False
    become_read_only()
    login = {"username": "nobody", "password": "nothing"}
    monkeypatch.setattr("django.contrib.auth.authenticate", lambda *_a, **_k: database.check_writable())
    monkeypatch.setattr("django.contrib.auth.forms.authenticate", lambda *_a, **_k: database.check_writable())
    assert client.post("/sign-in/", login, secure=True, headers={"host": "localhost"}).status_code == 500
    assert client.post("/sign-in/", login, secure=True, headers={"host": "localhost"}).status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_a_connection_that_a_page_opened_during_an_outage_is_given_up_once_it_is_over() -> None:
    def meet_an_outage() -> None:
        raise OperationalError("read-only")

    committer = Committer(threads=1, retry_seconds=0.0)
    with pytest.raises(InboxUnavailableError):
        committer.run(meet_an_outage)
    request_started.send(None)
    connection.ensure_connection()  # To a standby, where there is one: it need not fail before it is written to.
    assert committer.run(lambda: connection.connection) is committer.run(lambda: connection.connection)
    request_started.send(None)
    assert connection.connection is None
    close(committer)


@pytest.mark.redis
def test_a_worker_on_a_database_that_is_not_migrated_says_so(tmp_path: Path) -> None:
    with running_stack(tmp_path, database="sqlite", broker="redis") as stack:
        stack.start("worker", "--concurrency", "1")
        reason = "the database is not migrated; run manage.py migrate"
        line = f"no jobs are claimed and no outcomes recorded  reason={reason}"
        wait_until(lambda: line in stack.logs(), what="the worker says so", seconds=120)
        assert "Traceback" not in stack.logs()
