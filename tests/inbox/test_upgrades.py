"""What a release leaves to the next one: rows that it writes and reads, on the new schema, beside the new code.

`tests/releases/<release>.json` has one row of each table, with every column that the release writes. A release adds its
own file and leaves the others as they are. A migration may add (expand); what an older release still writes goes a
release later (contract), together with that release's file.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from webhooks.inbox import transitions
from webhooks.models import Job
from webhooks.states import JobState
from webhooks.subscriptions.event import Event
from webhooks.subscriptions.subscription import Defaults, discover, on
from workers.runs import task
from workers.runs.handler import HandlerWindow

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

RELEASES = sorted(
    (Path(__file__).parent / "releases").glob("*.json"), key=lambda path: [int(part) for part in path.stem.split(".")]
)


@on("push")
def tell(event: Event) -> str:
    return f"{event.repository} {event.payload['ref']}"


(TELL,) = discover([("app", sys.modules[__name__])], defaults=Defaults(queue="q", time_limit=30, max_attempts=3))


def write(release: Path) -> None:
    """Insert what the release inserts, and nothing that it does not know of."""
    for table, row in json.loads(release.read_text()).items():
        values = {**row, **({"body": row["body"].encode()} if "body" in row else {})}
        columns = ", ".join(connection.ops.quote_name(column) for column in values)
        places = ", ".join(["%s"] * len(values))
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", list(values.values()))


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_an_older_release_can_still_write_and_the_new_worker_runs_what_it_left(release: Path) -> None:
    write(release)
    job = Job.objects.get()
    window = HandlerWindow(TELL)
    try:
        assert task.perform(TELL, job.pk, worker="worker@test", window=window) == "succeeded"
    finally:
        window.leave()
    job.refresh_from_db()
    assert (job.state, job.attempt, job.result) == (JobState.SUCCEEDED, 2, "acme/widgets main")


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_an_older_release_can_still_read_every_column_that_it_knows(release: Path) -> None:
    write(release)
    for table, row in json.loads(release.read_text()).items():
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(connection.ops.quote_name(column) for column in row)} FROM {table}")
            assert cursor.fetchone()


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
