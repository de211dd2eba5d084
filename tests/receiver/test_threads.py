"""Threads of ours that meet what nobody has foreseen: started again, or seen. No text of an exception is logged."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.publishing.test_relay import waiting
from tests.support.celery_app import celery_on
from tests.support.process_ends import ProcessEnd
from tests.support.processes import wait_until
from tests.support.receiving import finish
from webhooks.publishing import publisher as publishing
from webhooks.publishing.broker import Broker
from webhooks.publishing.publisher import Publisher
from webhooks.threads import start_thread

SECRET = "Sup3r-Secret"
SOURCES = Path(__file__).resolve().parents[2]


class Unforeseen(BaseException):
    """No Exception, as SystemExit and KeyboardInterrupt are none."""


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(publishing, "PAUSE_SECONDS", 0.0)
    return Publisher()


def offer(publisher: Publisher) -> None:
    publisher.offer(waiting(1))


def failing(*errors: BaseException) -> Callable[..., int]:
    """Return a method that raises each of these in turn, and then finds room."""
    left = list(errors)

    def room(*_args: Any, **_options: Any) -> int:
        if left:
            raise left.pop(0)
        return 1

    return room


def test_a_publisher_that_meets_what_nobody_has_foreseen_says_so_and_goes_on(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"amqp://u:{SECRET}@h//"
    monkeypatch.setattr(Broker, "room", failing(ValueError(f"Port could not be cast to integer value as {url!r}")))
    published = threading.Event()
    monkeypatch.setattr(Broker, "publish", lambda *_: published.set())
    with celery_on("filesystem://"), caplog.at_level(logging.DEBUG):
        offer(publisher)
        wait_until(lambda: not publisher.is_available, what="the publisher to say so")
        first = publisher._thread
        offer(publisher)
        assert published.wait(30)
        wait_until(lambda: publisher.is_available, what="the publisher to say so")
        assert publisher._thread is first
        finish(publisher)
    (line,) = [record for record in caplog.records if record.getMessage() == "jobs are left to the relay"]
    assert vars(line)["reason"].startswith("the broker cannot be published to (ValueError at ")
    assert SECRET not in caplog.text + str(vars(line))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_publisher_whose_thread_has_died_is_not_available_until_the_next_offer_starts_another(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broker, "room", failing(Unforeseen()))
    published = threading.Event()
    monkeypatch.setattr(Broker, "publish", lambda *_: published.set())
    with celery_on("filesystem://"):
        offer(publisher)
        wait_until(lambda: not publisher.is_available, what="the publisher to say so")
        offer(publisher)
        assert published.wait(30)
        assert publisher.is_available
        finish(publisher)


@pytest.mark.parametrize("error", [ZeroDivisionError(SECRET), Unforeseen(SECRET)])
def test_a_thread_that_fails_ends_its_process_for_another_to_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    end = ProcessEnd(monkeypatch)
    start_thread("doubts", fail)
    assert end.has_come.wait(30)
    assert end.statuses == [1]
    (record,) = caplog.records
    assert vars(record)["error"].startswith(f"{type(error).__name__} at {__file__}:")
    assert SECRET not in caplog.text


def test_no_thread_of_a_service_is_started_without_being_watched() -> None:
    """Those that are: the publisher's, which starts anew; a readiness probe's one
    look; one word of a log; what sends samples on a terminal; the last spans, for
    which nobody waits long; and the one note of an alarm.
    """
    allowed = {
        *(
            "webhooks/threads.py",
            "webhooks/publishing/publisher.py",
            "webhooks/receiver/views.py",
        ),
        *(
            "workers/stopping/grace.py",
            "webhooks/github/sender.py",
            "webhooks/traces/sdk.py",
            "webhooks/inbox/encoded_secret.py",
        ),
    }
    found = {
        str(path.relative_to(SOURCES))
        for package in ("project", "webhooks", "workers", "deploy")
        for path in (SOURCES / package).rglob("*.py")
        if "threading.Thread(" in path.read_text() or "Timer(" in path.read_text()
    }
    assert found <= allowed
