"""How workers come back to a broker that was away or refused them, and what they say meanwhile."""

import re
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import kombu
import pytest
from celery import current_app

from tests.support import services
from tests.support.brokers import repeated
from tests.support.celery_app import celery_on
from tests.support.processes import free_port, wait_until
from tests.support.stack import running_stack
from workers.runs.consumer import Consumer, own_waits

WAIT = re.compile(r"the broker is tried again  seconds=([\d.]+)")


@pytest.mark.slow
def test_workers_try_a_broker_that_is_away_each_at_moments_of_its_own(tmp_path: Path) -> None:
    broker = f"amqp://guest:guest@127.0.0.1:{free_port()}//"
    with running_stack(
        tmp_path, database="sqlite", broker="filesystem", BROKER_URL=broker, HOOKLINE_LOG_LEVEL="DEBUG"
    ) as stack:
        stack.migrate()
        for _ in range(2):
            stack.start("worker", "--concurrency", "1")
        logs = [stack.directory / f"worker-{number}.log" for number in range(2)]

        def waits() -> list[list[str]] | None:
            found = [WAIT.findall(log.read_text()) for log in logs]
            return found if all(len(of_one) >= 2 for of_one in found) else None

        first, second = wait_until(waits, what="two tries of each worker", seconds=120)
        assert first[:2] != second[:2]
        assert all(1 <= float(wait) <= 15 for wait in first + second)
        said = [line for line in logs[0].read_text().splitlines() if "worker waits" in line]
        assert all("reason=the broker refuses the connection: nothing listens there" in line for line in said)
        assert sum("times=1 " in line for line in said) == 1


def test_no_wait_is_so_long_that_a_broker_is_back_half_a_minute_before_its_workers() -> None:
    drawn = [list(islice(own_waits(), 30)) for _ in range(200)]
    assert len({waits[0] for waits in drawn}) > 190
    assert all(1 <= waits[0] <= 3 and waits[-1] <= 15 and waits == sorted(waits) for waits in drawn)


@pytest.mark.rabbitmq
def test_rabbitmq_confirms_what_is_published_but_not_a_workers_own_events() -> None:
    consumer = Consumer.__new__(Consumer)
    consumer.app = current_app
    with celery_on(services.RABBITMQ_URL):
        for connect, is_confirmed in ((current_app.connection_for_write, True), (consumer.connection_for_write, False)):
            with connect() as connection:
                connection.connect()
                assert connection.connection.confirm_publish is is_confirmed


@pytest.mark.rabbitmq
def test_a_worker_starts_on_rabbitmq_without_a_warning_and_without_queues_for_celerys_delays(tmp_path: Path) -> None:
    delays = "celery_delayed_27"
    with (
        kombu.Connection(services.RABBITMQ_URL) as connection,
        running_stack(tmp_path, database="sqlite", broker="rabbitmq") as stack,
    ):
        channel: Any = connection.channel()
        channel.queue_delete(delays)  # An older release may have left it.
        stack.migrate()
        stack.start("worker", "--concurrency", "1")
        wait_until(lambda: " ready." in stack.logs(), what="the worker to consume")
        assert [line for line in stack.logs().splitlines() if "WARNING" in line or "elayed" in line] == []
        with pytest.raises(connection.channel_errors, match="NOT_FOUND"):
            channel.queue_declare(delays, passive=True)


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"netloc": "hush:wrong-word@{host}"}, "refuses the login; look at user and password"),
        repeated({"path": "/no-such-host"}, "has no such virtual host, or does not let this user in"),
    ],
    ids=["login", "virtual host"],
)
def test_a_worker_that_the_broker_refuses_says_so_once_and_goes_on_trying(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    parts = urlsplit(services.RABBITMQ_URL)
    host = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(**{name: value.format(host=host) for name, value in change.items()}))
    with running_stack(
        tmp_path, database="sqlite", broker="filesystem", BROKER_URL=url, HOOKLINE_LOG_LEVEL="DEBUG"
    ) as stack:
        stack.migrate()
        stack.start("worker", "--concurrency", "1")
        log = stack.directory / "worker-0.log"
        wait_until(lambda: len(WAIT.findall(log.read_text())) >= 2, what="two tries", seconds=120)
        told = log.read_text()
    said = [line for line in told.splitlines() if "worker waits" in line]
    assert all(f"reason=the broker {reason}" in line for line in said)
    assert sum("times=1 " in line for line in said) == 1
    assert not any(value in line for value in ("hush", "no-such-host", host) for line in said)
    assert not any(word in told for word in ("Traceback", "Frequent restarts", "wrong-word"))
