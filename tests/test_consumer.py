"""How workers come back to a broker that was away."""

import re
from pathlib import Path
from typing import Any

import kombu
import pytest

from tests import services
from tests.processes import free_port, wait_until
from tests.stack import running_stack
from workers.consumer import own_steps

WAIT = re.compile(r"Trying again in ([\d.]+) seconds")


def test_workers_try_a_broker_that_is_away_each_at_moments_of_its_own(tmp_path: Path) -> None:
    broker = f"amqp://guest:guest@127.0.0.1:{free_port()}//"
    with running_stack(tmp_path, database="sqlite", broker="filesystem", BROKER_URL=broker) as stack:
        stack.manage("migrate", "-v0")
        for _ in range(2):
            stack.start("worker", "--concurrency", "1")
        logs = [stack.directory / f"worker-{number}.log" for number in range(2)]

        def waits() -> list[list[str]] | None:
            found = [WAIT.findall(log.read_text()) for log in logs]
            return found if all(len(of_one) >= 2 for of_one in found) else None

        first, second = wait_until(waits, what="two tries of each worker", seconds=60)
    assert first[:2] != second[:2]
    assert all(1 < float(wait) <= 15 for wait in first + second)


def test_no_wait_is_so_long_that_a_broker_is_back_half_a_minute_before_its_workers() -> None:
    drawn = [own_steps() for _ in range(200)]
    assert len({steps["interval_start"] for steps in drawn}) > 190
    assert all(1 < steps["interval_start"] <= 3 and steps["interval_max"] <= 15 for steps in drawn)


@pytest.mark.rabbitmq
def test_a_worker_starts_on_rabbitmq_without_a_warning_and_without_queues_for_celerys_delays(tmp_path: Path) -> None:
    delays = "celery_delayed_27"
    with (
        kombu.Connection(services.RABBITMQ_URL) as connection,
        running_stack(tmp_path, database="sqlite", broker="rabbitmq") as stack,
    ):
        channel: Any = connection.channel()
        channel.queue_delete(delays)  # An older release may have left it.
        stack.manage("migrate", "-v0")
        stack.start("worker", "--concurrency", "1")
        wait_until(lambda: " ready." in stack.logs(), what="the worker to consume")
        assert [line for line in stack.logs().splitlines() if "WARNING" in line or "elayed" in line] == []
        with pytest.raises(connection.channel_errors, match="NOT_FOUND"):
            channel.queue_declare(delays, passive=True)
