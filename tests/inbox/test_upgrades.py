"""What a release leaves to the next one: rows that it writes and reads, on the new schema, beside the new code.

`releases/<release>.json` has one row of each table, with every column that the release writes, and
`releases/messages/<release>.json` a message as it publishes them, if those of the next release differ. A release adds
its own files and leaves the others as they are. A migration may add (expand); what an older release still writes goes a
release later (contract), together with that release's file.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, current_app
from django.apps import apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from kombu import Message

from tests.support.celery_app import celery_on
from tests.support.claimed_jobs import run_now
from tests.support.inbox_rows import new_delivery
from webhooks.inbox import store, transitions
from webhooks.inbox.new_delivery import JobToPublish
from webhooks.inbox.outcomes import spent
from webhooks.models import Attempt, Job
from webhooks.publishing.broker import Broker, job_queue
from webhooks.states import JobState
from webhooks.subscriptions.event import Event
from webhooks.subscriptions.subscription import Defaults, Subscriptions, discover, on
from workers.runs import turn
from workers.runs.registration import register
from workers.runs.task import TurnRequest

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

RELEASES = sorted(
    (Path(__file__).parent / "releases").glob("*.json"), key=lambda path: [int(part) for part in path.stem.split(".")]
)


RELEASE_BEFORE = RELEASES[-2]
JOBS = "webhooks_job"
AGO = "2026-11-01 09:00:00+00:00"
RUNNING = {"state": "running", "publish_at": None, "lease_until": AGO, "attempt": 2}
"""What a release does to a job that it claims, and what the one before did besides: it wrote the attempt's row."""
OPEN_ATTEMPT = {"number": 2, "started_at": AGO, "finished_at": None, "outcome": "", "message": ""}


@on("push")
def tell(event: Event) -> str:
    return f"{event.repository} {event.payload['ref']}"


(TELL,) = discover([("app", sys.modules[__name__])], defaults=Defaults(queue="q", time_limit=30, max_attempts=3))


def write(release: Path, **changed: dict[str, Any]) -> None:
    """Insert what the release inserts, and nothing that it does not know of. `changed` are columns of a table."""
    for table, row in json.loads(release.read_text()).items():
        values = row | changed.get(table.removeprefix("webhooks_"), {})
        values |= {"body": row["body"].encode()} if "body" in row else {}
        columns = ", ".join(connection.ops.quote_name(column) for column in values)
        places = ", ".join(["%s"] * len(values))
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", list(values.values()))


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_an_older_release_can_still_write_and_the_new_worker_runs_what_it_left(release: Path) -> None:
    write(release)
    job = Job.objects.get()
    assert run_now(TELL, job.pk) is JobState.SUCCEEDED
    job.refresh_from_db()
    assert (job.state, job.attempt, job.result) == (JobState.SUCCEEDED, 2, "acme/widgets main")


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_an_older_release_can_still_read_every_column_that_it_knows(release: Path) -> None:
    write(release)
    for table, row in json.loads(release.read_text()).items():
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(connection.ops.quote_name(column) for column in row)} FROM {table}")
            assert cursor.fetchone()


def test_what_this_release_writes_has_a_value_in_each_column_that_the_one_before_reads() -> None:
    store.store(new_delivery(subscriptions=[TELL], body=b'{"ref": "main"}'))
    run_now(TELL, Job.objects.get().pk)
    for table, row in json.loads(RELEASE_BEFORE.read_text()).items():
        filled = [column for column, value in row.items() if value is not None]
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(map(connection.ops.quote_name, filled))} FROM {table}")
            values = dict(zip(filled, cursor.fetchone(), strict=True))
        assert [column for column, value in values.items() if value is None] == ["publish_at"] * (table == JOBS), table


def test_a_run_of_the_release_before_whose_lease_is_over_is_recorded_as_lost_in_its_own_attempt() -> None:
    write(RELEASE_BEFORE, job=RUNNING, attempt=OPEN_ATTEMPT)
    assert transitions.expire_leases() == 1
    job, attempt = Job.objects.get(), Attempt.objects.get()
    assert (job.state, job.lost, spent(job), job.lease_until) == (JobState.RETRYING, 1, 1, None)
    assert (attempt.number, attempt.outcome, attempt.worker) == (2, "lost", "worker-7@pod")
    assert attempt.finished_at is not None


def test_a_run_of_the_release_before_counts_as_lost_though_nothing_says_that_it_had_begun() -> None:
    write(RELEASE_BEFORE, job=RUNNING | {"lost": 1, "attempt": 2}, attempt=OPEN_ATTEMPT)
    transitions.expire_leases()
    job = Job.objects.get()
    assert (job.state, job.lost, Attempt.objects.get().outcome) == (JobState.RETRYING, 2, "lost")


def test_a_run_of_the_release_before_is_not_given_back_for_the_worker_that_had_its_job_last() -> None:
    write(RELEASE_BEFORE, job=RUNNING, attempt=OPEN_ATTEMPT)
    Job.objects.update(worker="worker@test", claimed_at=AGO)  # The release before leaves both as they are.
    assert transitions.release_unknown("worker@test", set()) == 0
    assert Job.objects.get().state == JobState.RUNNING


@pytest.mark.parametrize("path", sorted((RELEASES[0].parent / "messages").glob("*.json")), ids=lambda path: path.stem)
def test_a_message_of_an_older_release_says_that_there_is_work(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.loads(path.read_text())
    app = Celery("trial", set_as_current=False)
    register(app, Subscriptions([TELL]))
    handler_task: Any = app.tasks[told["headers"]["task"]]
    turns: list[str] = []
    monkeypatch.setattr(turn, "take_jobs", turns.append)
    message = Message(
        body=told["body"], headers=told["headers"], content_type="application/json", content_encoding="utf-8"
    )
    request = TurnRequest(message, app=app, task=handler_task, hostname="worker@test", decoded=False)
    assert request.time_limits == (None, None)  # Those of its one job are not a turn's.
    args, options, _ = message.payload
    handler_task.push_request(**told["headers"])
    handler_task.run(*args, **options)
    assert turns == ["q"]


def test_the_release_before_can_read_this_ones_messages() -> None:
    told = json.loads((RELEASE_BEFORE.parent / "messages" / RELEASE_BEFORE.name).read_text())
    with celery_on("filesystem://"):
        broker = Broker()
        broker.room("q")  # Declares the queue.
        broker.publish([JobToPublish(900, "app.tell", "q")])
        broker.close()
        with current_app.connection_for_read() as read:
            message: Any = job_queue("q")(read.channel()).get(no_ack=True)
    assert message is not None
    assert message.payload == json.loads(told["body"])
    # Its own limits are those of its tasks where a message has none.
    own = {"id", "root_id", "origin", "timelimit"}
    assert {name: message.headers[name] for name in told["headers"].keys() - own} == {
        name: value for name, value in told["headers"].items() if name not in own
    }
    assert message.headers["timelimit"] == [None, None]


def test_the_migrations_since_the_release_before_keep_its_rows_forwards_and_backwards() -> None:
    columns = ", ".join(json.loads(RELEASE_BEFORE.read_text())[JOBS])

    def migrate(*names: str) -> Any:
        MigrationExecutor(connection).migrate([("webhooks", name) for name in names])
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM {JOBS}")
            return cursor.fetchone()

    newest = MigrationExecutor(connection).loader.graph.leaf_nodes("webhooks")[0][1]
    try:
        migrate("0003_once_per_event")
        write(RELEASE_BEFORE)
        row = migrate("0003_once_per_event")
        assert row is not None
        assert [migrate(newest), migrate("0003_once_per_event"), migrate(newest)] == [row] * 3
    finally:
        migrate(newest)


def has_lz4() -> bool:
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'")
        found = cursor.fetchone()
    return bool(found and "lz4" in found[0])


def test_bodies_are_compressed_with_lz4_where_the_server_has_it() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite compresses nothing")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attcompression FROM pg_attribute WHERE attrelid = 'webhooks_payload'::regclass AND attname = 'body'"
        )
        assert (cursor.fetchone()[0] == "l") is has_lz4()


@pytest.mark.parametrize("answer", ["SELECT true WHERE false", "SELECT false", "SELECT true"])
def test_a_server_without_lz4_is_left_as_it_is(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migration: Any = import_module("webhooks.migrations.0005_payloads_in_lz4")
    monkeypatch.setattr(migration, "_HAS_LZ4", answer)
    with connection.schema_editor(collect_sql=True) as editor:
        migration.compress_with_lz4(None, editor)
        migration.compress_as_before(None, editor)
    changes = answer == "SELECT true" and connection.vendor == "postgresql"
    assert [line.rpartition(" ")[2] for line in editor.collected_sql if "COMPRESSION" in line] == (
        ["lz4;", "default;"] if changes else []
    )


def test_the_newest_release_file_has_every_column_of_the_inbox() -> None:
    """Else this release's own rows would be nobody's to check in the next one."""
    known: dict[str, Any] = json.loads(RELEASES[-1].read_text())
    for name in ("source", "delivery", "payload", "job", "attempt"):
        meta = apps.get_model("webhooks", name)._meta
        assert set(known[meta.db_table]) == {field.column for field in meta.concrete_fields}, meta.db_table


def test_a_waiting_job_whose_handler_is_gone_is_dead_and_says_so() -> None:
    write(RELEASES[0])
    transitions.end_without_run([900], reason="No installed app has a handler named app.tell.")
    job = Job.objects.get()
    assert (job.state, job.publish_at) == (JobState.DEAD, None)
    assert job.error == "No installed app has a handler named app.tell."
