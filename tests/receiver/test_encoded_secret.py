"""The header in which GitHub has sent webhook secrets: an alarm, and no trace of its value anywhere."""

import base64
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.support.deliveries import body_of, headers_for
from tests.support.people import signed_in
from tests.support.processes import wait_until
from tests.support.receiver_process import SECRET, receiver_in, request
from webhooks.console.overview import standing
from webhooks.inbox import encoded_secret
from webhooks.inbox.encoded_secret import HEADER, alarm
from webhooks.models import Source

VALUE = base64.b64encode(SECRET.encode()).decode()
METRIC = "hookline_encoded_secret_total"


@pytest.fixture(autouse=True)
def _never_alarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_secret, "_next_at", {})


def wait_until_noted(source: str = "github") -> None:
    noted = Source.objects.filter(name=source, encoded_secret_at__isnull=False)
    wait_until(noted.exists, what="the alarm is noted")


# --- A real receiver --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path, dict[str, Any]]]:
    """What a receiver says to a signed delivery with the header, to others, and to pages."""
    directory = tmp_path_factory.mktemp("receiver")
    body = body_of(zen="Keep it")
    signed, unsigned = (headers_for(body, secret=secret) for secret in (SECRET, "another secret of 16"))
    with receiver_in(directory, HOOKLINE_LOG_LEVEL="DEBUG", HOOKLINE_LOG_FORMAT="json") as receiver:
        found = {
            name: receiver.ask(request("GET" if path == "/metrics" else "POST", path, sent, headers=headers))
            for name, path, sent, headers in (
                (
                    "unsigned",
                    "/webhooks/github",
                    body,
                    unsigned | {HEADER: VALUE},
                ),
                ("nowhere", "/webhooks/nobody", body, signed | {HEADER: VALUE}),
                ("before", "/metrics", b"", {HEADER: VALUE}),
            )
        }
        found["taken"] = receiver.ask(
            request("POST", "/webhooks/github", body, headers=signed | {HEADER.upper(): VALUE})
        )
        found["again"] = receiver.ask(request("POST", "/webhooks/github", body, headers=signed | {HEADER: VALUE}))
        file = directory / "hookline.sqlite3"

        def is_noted() -> bool:
            with sqlite3.connect(file, timeout=20) as database:
                return bool(database.execute("SELECT encoded_secret_at FROM webhooks_source").fetchone()[0])

        wait_until(is_noted, what="the alarm is noted")
        found["after"] = receiver.ask(request("GET", "/metrics", b""))
        yield receiver, directory, found


def test_the_delivery_is_taken_in_as_any_other(answers: Any) -> None:
    _, _, found = answers
    assert [found[name].status for name in ("taken", "again", "unsigned", "nowhere")] == [202, 200, 401, 404]


def test_it_is_counted_for_the_source_that_has_signed_it_and_for_no_stranger(answers: Any) -> None:
    _, _, found = answers
    assert f'{METRIC}{{source="github"}} 0.0' in found["before"].body.decode()
    assert f'{METRIC}{{source="github"}} 2.0' in found["after"].body.decode()


def test_the_log_says_it_once_as_an_error(answers: Any) -> None:
    receiver, _, _ = answers
    lines = [line for line in receiver.log.read_text().splitlines() if "carried a secret in a header" in line]
    assert len(lines) == 1
    assert '"ERROR"' in lines[0]
    assert '"github"' in lines[0]


def test_its_value_is_in_no_file_and_no_answer(answers: Any) -> None:
    _, directory, found = answers
    for file in filter(Path.is_file, directory.rglob("*")):
        assert VALUE.encode() not in file.read_bytes(), file
    assert not any(VALUE in reply.body.decode() for reply in found.values())


# --- What follows -----------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_it_is_logged_and_noted_once_a_minute_and_counted_each_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value(METRIC, {"source": "github"}) or 0.0

    before = count()
    for _ in range(3):
        alarm("github")
    wait_until_noted()
    assert count() == before + 3
    assert [record.levelno for record in caplog.records if record.name == encoded_secret.__name__] == [logging.ERROR]
    monkeypatch.setattr(encoded_secret, "_next_at", {"github": 0.0})
    Source.objects.update(encoded_secret_at=None)
    alarm("github")
    wait_until_noted()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_home_says_it_for_a_week(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = signed_in("viewer")
    assert HEADER not in viewer.get("/").content.decode()
    alarm("github")
    wait_until_noted()
    text = viewer.get("/").content.decode()
    assert f"A delivery of github carried a secret in the header {HEADER}" in text
    monkeypatch.setattr(standing, "ALARM_SHOWN", standing.ALARM_SHOWN * 0)
    assert HEADER not in viewer.get("/").content.decode()
