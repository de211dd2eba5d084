"""`manage.py inbox --watch`: what it shows, on terminals of several sizes, how it ends, and what it costs to look."""

import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error, connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from rich.console import Console

from tests.support.inbox_rows import make_delivery, make_job
from tests.support.migrated import migrate
from tests.support.processes import environment
from tests.support.terminal import CTRL_C, Terminal, on_terminal
from webhooks.inbox import live, workers
from webhooks.inbox.workers import Report, State
from webhooks.management import inbox_watch
from webhooks.models import Attempt, Delivery, Job, Pause, WorkerReport
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.installed import installed_subscriptions

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

COMMAND = [sys.executable, "manage.py", "inbox", "--watch"]


def report(worker: str, *, silent: float = 0.0, **values: Any) -> None:
    usual: dict[str, Any] = {
        "worker": worker, "release": "1", "queues": ["default"], "state": State.READY, "slots": 4,
        "memory_bytes": 300 * 2**20, "running": [], "age_seconds": 60.0,
    }  # fmt: skip
    workers.write(Report(**usual | values))
    WorkerReport.objects.filter(worker=worker).update(reported_at=Now() - timedelta(seconds=silent))


def end(job: Job, outcome: str, *, seconds_ago: float = 1.0, number: int = 1) -> None:
    at = Now() - timedelta(seconds=seconds_ago)
    Attempt.objects.create(job=job, number=number, worker="w", pid=1, started_at=at, finished_at=at, outcome=outcome)


def printed() -> str:
    out = StringIO()
    call_command("inbox", watch=True, stdout=out)
    return out.getvalue()


def drawn(*, lines: int, columns: int) -> list[str]:
    out = StringIO()
    console = Console(file=out, width=columns, height=lines)
    console.print(inbox_watch.picture(live.look(), lines=lines, columns=columns, is_live=True))
    return out.getvalue().splitlines()


# --- What it shows ----------------------------------------------------------------------------------------------------


def test_it_shows_rates_queues_and_workers() -> None:
    job = make_job()
    Delivery.objects.exclude(pk=job.delivery_id).delete()
    make_delivery(received_at=Now() - timedelta(minutes=2))
    for number, outcome in enumerate(["succeeded", "succeeded", "failed", "crashed", "succeeded"], start=1):
        end(job, outcome, number=number)
    end(job, AttemptOutcome.SUCCEEDED, number=6, seconds_ago=90)
    make_job(JobState.DEAD)
    for _ in range(3):
        make_job(JobState.QUEUED, queue="mail", publish_at=Now() - timedelta(minutes=7))
    make_job(JobState.QUEUED, queue="later", publish_at=Now() + timedelta(hours=1))
    report("worker-1@pod")
    report("worker-2@pod", silent=90)
    report("worker-3@pod", state=State.STOPPED)
    text = printed()
    assert "A minute: 6 received, 3 succeeded, 2 failed; 1 dead" in text
    assert re.search(r"^mail +3 +7 min$", text, re.MULTILINE)
    assert re.search(r"^later +0 +-$", text, re.MULTILINE)
    assert re.search(r"^worker-1@pod +ready +0/4 +300 MB +\d s$", text, re.MULTILINE)
    assert re.search(r"^worker-2@pod +lost +0/4 +300 MB +1 min$", text, re.MULTILINE)
    assert "worker-3" not in text


def test_what_is_paused_and_that_nobody_works_is_said() -> None:
    Pause.objects.create(queue="mail", reason="r", paused_by="ana")
    Pause.objects.create(handler="shop.count", reason="r", paused_by="ana")
    Pause.objects.create(queue="default", reason="r", paused_by="ana", resumed_at=Now())
    text = printed()
    assert re.search(r"^mail paused by ana +0", text, re.MULTILINE)
    assert "shop.count handler paused" in text
    assert text.count("paused") == 2
    assert "No worker reports" in text


def test_more_than_is_read_gives_the_rate_of_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 4)
    job = make_job()
    for number in range(1, 9):
        make_delivery(received_at=Now() - timedelta(seconds=5 * number))
        end(job, AttemptOutcome.SUCCEEDED, number=number, seconds_ago=45 - 5 * number)
    rates = live.look().rates
    assert rates.received == pytest.approx(16, rel=0.2)  # Four within fifteen seconds, the newest of which is job's.
    assert rates.succeeded == pytest.approx(12, rel=0.2)  # Four within twenty seconds.


@pytest.mark.parametrize(("lines", "columns"), [(24, 80), (24, 60), (12, 40), (10, 36)])
def test_it_fits_a_terminal_of_any_size_and_counts_what_does_not(lines: int, columns: int) -> None:
    for number in range(30):
        report(f"worker-{number}-of-a-long-name@hookline-worker-7c9d8f6b5-{number:05}")
        make_job(JobState.QUEUED, queue=f"queue-{number}-of-a-name-that-is-long")
    found = drawn(lines=lines, columns=columns)
    assert len(found) <= max(lines, 12)
    assert max(map(len, found)) <= columns
    left = [int(line.split()[1]) for line in found if re.match(r"and \d+ more", line)]
    shown = [sum(line.startswith(f"{name}-") for line in found) for name in ("queue", "worker")]
    assert [left[0] + shown[0] - len(installed_subscriptions().queues), left[1] + shown[1]] == [30, 30]
    assert all(re.search(r"ready +0/4", line) for line in found if line.startswith("worker-"))


def test_a_name_cannot_control_the_terminal() -> None:
    report("worker\x1b[2J[bold]@pod")
    make_job(JobState.QUEUED, queue="\x1b]0;owned\x07[red]")
    text = printed()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "worker·[2J[bold]@pod" in text
    assert "[red]" in text


def test_it_is_for_people_and_not_for_scripts() -> None:
    with pytest.raises(CommandError, match="leave --format json away"):
        call_command("inbox", watch=True, format="json")


# --- On a terminal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"q", CTRL_C], ids=["q", "Ctrl-C"])
@pytest.mark.parametrize("size", [(24, 80), (10, 36)])
def test_on_a_terminal_it_is_drawn_again_until_somebody_ends_it(
    tmp_path: Path, key: bytes, size: tuple[int, int]
) -> None:
    settings = environment(HOOKLINE_DATA_DIR=tmp_path, TERM="xterm")
    migrate(settings | {"DJANGO_SETTINGS_MODULE": "project.settings"})
    with on_terminal(COMMAND, settings, size=size) as terminal:
        terminal.expect("q ends")
        first = moments(terminal)
        while moments(terminal) == first:
            assert terminal._read(), terminal.output
        assert terminal.process.poll() is None
        terminal.press(key)
        assert terminal.exit_status() == 0
    # The screen that was there before is back, and the cursor.
    assert terminal.output.rstrip().endswith(("\x1b[?1049l\x1b[?25h", "\x1b[?25h\x1b[?1049l"))


def moments(terminal: Terminal) -> set[str]:
    return set(re.findall(r"inbox at (\d\d:\d\d:\d\d)", terminal.output))


def test_a_database_that_goes_away_is_said_and_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: Iterator[live.Live | BaseException] = iter([live.look(), Error("gone"), live.look(), KeyboardInterrupt()])
    out = StringIO()

    def look() -> live.Live:
        found = next(looks)
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(inbox_watch, "look", look)
    monkeypatch.setattr(inbox_watch, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setattr("webhooks.inbox.database.drop", lambda: None)
    with Path("/dev/null").open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        inbox_watch.watch(out)
    assert "This is what was there before." in out.getvalue()
    assert next(looks, None) is None


# --- What it costs ----------------------------------------------------------------------------------------------------


def test_a_look_reads_by_index_however_much_there_is() -> None:
    make_job(JobState.QUEUED)
    delivery = make_delivery()
    fill(delivery)
    with CaptureQueriesContext(connection) as seen:
        live.look()
    statements = [query["sql"] for query in seen if query["sql"].startswith("SELECT")]
    assert len(statements) < 15
    for statement in statements:
        if '"webhooks_attempt"' in statement and statement.endswith("DESC LIMIT 1"):
            continue  # SQLite calls it a scan, but the first row that it reads ends it.
        plan = plan_of(statement)
        for table in ("webhooks_delivery", "webhooks_job", "webhooks_attempt"):
            assert not re.search(rf"Seq Scan on {table}\b|SCAN {table}(?! USING| USING COVERING)\b", plan), plan


def fill(delivery: Delivery) -> None:
    """Store many deliveries, final jobs and attempts of long ago, and let the database look at them."""
    Delivery.objects.bulk_create(
        Delivery(
            source_id=delivery.source_id, hook_id=number, guid=delivery.guid, event="push", secret_fingerprint="0",
            headers={}, body_bytes=0, received_at=Now() - timedelta(days=2),
        )
        for number in range(2, 20_002)
    )  # fmt: skip
    deliveries = list(Delivery.objects.order_by("-pk").values_list("pk", flat=True)[:20_000])
    Job.objects.bulk_create(
        Job(delivery_id=pk, handler="shop.count", queue="default", state="succeeded", max_attempts=1)
        for pk in deliveries
    )
    jobs = list(Job.objects.filter(state="succeeded").values_list("pk", flat=True))
    Attempt.objects.bulk_create(
        Attempt(
            job_id=job, number=number, worker="w", pid=1, outcome="succeeded", finished_at=Now() - timedelta(days=2)
        )
        for job in jobs
        for number in (1, 2, 3)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def plan_of(statement: str) -> str:
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        cursor.execute(explain + statement.replace("%", "%%"))
        return "\n".join(str(row) for row in cursor.fetchall())
