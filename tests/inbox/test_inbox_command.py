"""`manage.py inbox`: what it counts, the shape of its JSON, its text on a terminal, and what it says when it cannot."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.inbox_rows import make_delivery, make_job
from tests.support.processes import environment_without_settings
from webhooks.models import Job
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def text() -> str:
    out = StringIO()
    call_command("inbox", stdout=out)
    return out.getvalue()


def told() -> dict[str, Any]:
    out = StringIO()
    call_command("inbox", format="json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def run(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = environment_without_settings(os.environ) | {"HOOKLINE_DATA_DIR": str(tmp_path)} | environment
    return subprocess.run(
        [sys.executable, "manage.py", "inbox"], cwd=ROOT, env=kept, capture_output=True, text=True, timeout=60
    )


def test_an_empty_inbox_has_the_whole_shape_with_zeros() -> None:
    answer = told()
    assert list(answer) == ["deliveries", "jobs", "oldest_waiting_seconds", "queues", "handlers", "dead"]
    assert answer["deliveries"] == 0
    assert answer["jobs"] == {"queued": 0, "running": 0, "retrying": 0, "succeeded": 0, "dead": 0, "skipped": 0}
    assert answer["oldest_waiting_seconds"] is None
    assert answer["dead"] == []


def test_what_is_installed_is_there_before_its_first_job() -> None:
    answer = told()
    assert sorted(answer["queues"]) == installed_subscriptions().queues
    assert sorted(answer["handlers"]) == sorted(subscription.name for subscription in installed_subscriptions())
    idle = {"queued": 0, "running": 0, "retrying": 0, "oldest_waiting_seconds": None}
    assert list(answer["queues"].values()) == [idle] * len(answer["queues"])


def test_jobs_are_counted_by_state_queue_and_handler() -> None:
    delivery = make_delivery()
    for number, state in enumerate(JobState):
        for copy in range(number + 1):
            make_job(state, delivery=delivery if not copy else make_delivery(), handler=f"shop.{state}", queue="io")
    answer = told()
    counts = {"queued": 1, "running": 2, "retrying": 3, "succeeded": 4, "dead": 5, "skipped": 6}
    assert answer["deliveries"] == 16
    assert answer["jobs"] == counts
    queue = answer["queues"]["io"]
    assert (queue["queued"], queue["running"], queue["retrying"]) == (1, 2, 3)
    for name, count in counts.items():
        handler = answer["handlers"][f"shop.{name}"]
        assert {each: handler[each] for each in counts} == dict.fromkeys(counts, 0) | {name: count}


def test_a_job_waits_if_it_is_queued_or_retrying_and_due() -> None:
    due = Now() - timedelta(seconds=100)
    make_job(JobState.QUEUED, queue="one", due_at=due)
    make_job(JobState.RETRYING, queue="two", due_at=Now() - timedelta(seconds=300))
    make_job(JobState.RETRYING, queue="later", due_at=Now() + timedelta(seconds=900))
    for state in (JobState.RUNNING, JobState.SUCCEEDED, JobState.DEAD, JobState.SKIPPED):
        make_job(state, queue="past", due_at=Now() - timedelta(days=3))
    answer = told()
    assert answer["queues"]["one"]["oldest_waiting_seconds"] == pytest.approx(100, abs=20)
    assert answer["queues"]["two"]["oldest_waiting_seconds"] == pytest.approx(300, abs=20)
    assert answer["oldest_waiting_seconds"] == answer["queues"]["two"]["oldest_waiting_seconds"]
    assert answer["queues"]["later"]["oldest_waiting_seconds"] is None
    assert answer["queues"]["past"]["oldest_waiting_seconds"] is None


def test_of_the_dead_the_newest_twenty_are_named_and_each_handlers_newest_error() -> None:
    for number in range(22):
        ended = timezone.now() - timedelta(minutes=22 - number)
        make_job(JobState.DEAD, handler=f"shop.{number % 2}", error=f"error {number}", attempt=5, finished_at=ended)
    answer = told()
    assert [dead["error"] for dead in answer["dead"]] == [f"error {number}" for number in range(21, 1, -1)]
    newest = Job.objects.latest("finished_at")
    assert answer["dead"][0] == {
        "job": newest.pk,
        "handler": "shop.1",
        "delivery": str(newest.delivery.guid),
        "attempts": 5,
        "error": "error 21",
        "finished_at": newest.finished_at.isoformat() if newest.finished_at else None,
    }
    assert answer["handlers"]["shop.0"]["newest_error"] == "error 20"
    assert answer["handlers"][installed_subscriptions().all[0].name]["newest_error"] is None
    assert "DEAD: the newest 20 of 22" in text()


def test_the_queries_are_as_many_for_many_jobs_as_for_few() -> None:
    counted = []
    for count in (2, 30):
        for number in range(count):
            make_job(JobState.QUEUED if number else JobState.DEAD, queue=f"queue-{number}")
        with CaptureQueriesContext(connection) as captured:
            told()
        counted.append(len(captured))
    assert counted[0] == counted[1] <= 8


def test_the_text_keeps_to_a_hundred_columns_and_moves_no_cursor() -> None:
    make_job(JobState.QUEUED, queue="q" * 100, handler="h" * 200, due_at=Now() - timedelta(minutes=4))
    make_job(JobState.DEAD, handler="shop." + "x" * 190, error="\x1b[2J\n\t" + "no route " * 50, attempt=12)
    lines = text().splitlines()
    assert max(map(len, lines)) <= 100
    assert "2 deliveries, 2 jobs; the oldest has waited 4 min; 1 dead." in lines
    assert "DEAD: all 1" in lines
    assert all(line.isprintable() for line in lines)


def test_the_text_of_an_empty_inbox_says_that_nothing_waits() -> None:
    assert "0 deliveries, 0 jobs; none waiting; 0 dead." in text()


def test_numbers_stand_under_each_other() -> None:
    for _ in range(3):
        make_job(JobState.SUCCEEDED, handler="shop.count")
    lines = text().splitlines()
    header = next(line for line in lines if line.startswith("HANDLER"))
    row = next(line for line in lines if line.startswith("shop.count"))
    column = header.index("SUCCEEDED") + len("SUCCEEDED")
    assert row[:column].endswith(" 3")


def test_a_database_that_does_not_answer_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    done = run(tmp_path, DATABASE_URL="postgres://someone:hush@127.0.0.1:9/hookline")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip() == (
        "CommandError: The database refuses the connection: nothing listens there; it is hookline at 127.0.0.1:9."
    )


def test_a_database_that_is_not_migrated_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == "CommandError: The database is not migrated; run manage.py migrate."


def test_a_file_that_is_no_database_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    file = tmp_path / "hookline.sqlite3"
    file.write_bytes(b"not a database, " * 512)
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == f"CommandError: The database is a file of another kind; it is the file {file}."
