"""What a receiver counts of its own answers: written beside the requests, kept through an outage, ended with it."""

import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from tests.support.deliveries import headers_for
from tests.support.processes import wait_until
from tests.support.receiver_process import BODY, SECRET, receiver_in, request
from webhooks.inbox import releases
from webhooks.models import AnswerMinute, Release
from webhooks.receiver import answer_counts
from webhooks.receiver.answer_counts import AnswerCounts

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


class Clock:
    """The receiver's clock, as the test sets it."""

    def __init__(self) -> None:
        self.now = NOON.timestamp()

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(answer_counts, "time", clock)
    return clock


@pytest.fixture
def nothing_noted() -> Iterator[None]:
    releases._noted.clear()
    yield
    releases._noted.clear()


def rows() -> dict[tuple[datetime, str], int]:
    return {(row.at, row.result): row.count for row in AnswerMinute.objects.all()}


@pytest.mark.usefixtures("clock")
def test_answers_are_counted_by_result_and_in_buckets_of_their_durations() -> None:
    counts = AnswerCounts()
    for result in ("stored", "stored", "duplicate", "unsigned", "refused"):
        counts.note(result, 0.3)
    counts.note("stored", 0.001)
    counts.write()
    assert {result: count for (at, result), count in rows().items() if at == NOON} == {
        "stored": 3, "duplicate": 1, "unsigned": 1, "refused": 1,
    }  # fmt: skip
    stored = AnswerMinute.objects.get(result="stored")
    assert stored.seconds == pytest.approx(0.601)
    assert [getattr(stored, f"took_{place}") for place in range(10)] == [1, 0, 0, 0, 0, 0, 2, 0, 0, 0]


def test_a_minute_is_written_as_it_stands_however_often(clock: Clock) -> None:
    counts = AnswerCounts()
    counts.note("stored", 0.1)
    counts.write()
    counts.note("stored", 0.1)
    clock.now += 59
    counts.note("stored", 0.1)
    counts.write()
    counts.write()
    clock.now += 1
    counts.note("stored", 0.1)
    counts.write()
    assert rows() == {(NOON, "stored"): 3, (NOON + timedelta(minutes=1), "stored"): 1}


@pytest.mark.usefixtures("clock")
def test_two_receivers_do_not_write_over_each_other() -> None:
    for _ in range(2):
        counts = AnswerCounts()
        counts.note("stored", 0.1)
        counts.write()
    assert [row.count for row in AnswerMinute.objects.all()] == [1, 1]


def test_while_the_database_is_down_the_newest_minutes_are_kept(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    counts = AnswerCounts()

    def down(*_rows: Any, **_options: Any) -> None:
        raise OperationalError("away")

    with monkeypatch.context() as outage:
        outage.setattr(AnswerMinute.objects, "bulk_create", down)
        for _ in range(answer_counts.MOST_MINUTES + 5):
            counts.note("stored", 0.1)
            clock.now += 60
            counts._turn()
    assert "answer counts wait" in caplog.messages
    assert len(counts._minutes) == answer_counts.MOST_MINUTES
    counts.note("stored", 0.1)
    counts._turn()
    assert len(rows()) == answer_counts.MOST_MINUTES
    assert min(at for at, _ in rows()) == NOON + timedelta(minutes=6)


@pytest.mark.usefixtures("clock")
def test_an_answer_that_comes_while_its_minute_is_being_written_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = AnswerCounts()
    counts.note("stored", 0.1)
    create = AnswerMinute.objects.bulk_create

    def slow(written: Any, **options: Any) -> Any:
        counts.note("stored", 0.1)
        return create(written, **options)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(AnswerMinute.objects, "bulk_create", slow)
        counts.write()
    assert rows() == {(NOON, "stored"): 1}
    counts.write()
    assert rows() == {(NOON, "stored"): 2}


def test_what_is_written_and_over_is_forgotten(clock: Clock) -> None:
    counts = AnswerCounts()
    for _ in range(10):
        counts.note("stored", 0.1)
        clock.now += 60
        counts.write()
    assert len(counts._minutes) == 2
    assert sum(rows().values()) == 10


@pytest.mark.usefixtures("nothing_noted")
def test_the_thread_writes_what_is_left_at_a_stop_and_leaves_no_connection(settings: Any) -> None:
    settings.HOOKLINE_RELEASE = "1.2.3"
    counts, closed = AnswerCounts(), []
    run = counts._run

    def watched() -> None:
        run()
        closed.append(connection.connection)

    counts._run = watched  # type: ignore[method-assign]
    counts.start()
    counts.note("stored", 0.1)
    counts.stop()
    assert closed == [None]
    assert list(rows().values()) == [1]
    assert Release.objects.get().name == "1.2.3"
    assert "answer-counts" not in {thread.name for thread in threading.enumerate()}


def test_it_writes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_counts, "EVERY_SECONDS", 0.01)
    counts = AnswerCounts()
    counts.start()
    try:
        counts.note("stored", 0.1)
        wait_until(AnswerMinute.objects.exists, what="the counts are written")
    finally:
        counts.stop()


def test_a_silent_database_does_not_hold_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_counts, "STOP_SECONDS", 0.01)
    counts, is_asked, goes_on = AnswerCounts(), threading.Event(), threading.Event()

    def silent() -> None:
        is_asked.set()
        goes_on.wait(60)

    counts._step = silent  # type: ignore[method-assign]
    counts.start()
    counts.stop()
    assert is_asked.wait(60)
    assert counts._thread is not None
    assert counts._thread.is_alive()
    goes_on.set()
    counts._thread.join(60)


def test_a_receiver_counts_what_it_answers_to_webhooks_and_writes_it_before_it_ends(tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the process has an inbox of its own")
    again = request(headers=headers_for(BODY, secret=SECRET))
    with receiver_in(tmp_path, HOOKLINE_RELEASE="2.0") as receiver:
        statuses = [
            receiver.ask(data).status
            for data in (
                request(), again, again, request(headers={"X-Hub-Signature-256": "sha256=0"}),
                request(path="/webhooks/nobody"), request("GET", "/livez", b""),
            )
        ]  # fmt: skip
        assert receiver.stop() == 0
        assert receiver.complaints() == []
    assert statuses == [202, 202, 200, 401, 404, 200]
    with sqlite3.connect(tmp_path / "hookline.sqlite3") as database:
        found = dict(database.execute("SELECT result, sum(count) FROM webhooks_answerminute GROUP BY result"))
        names = [name for (name,) in database.execute("SELECT name FROM webhooks_release")]
    database.close()
    assert found == {"stored": 2, "duplicate": 1, "unsigned": 1, "refused": 1}
    assert names == ["2.0"]
