"""The main job through the real processes, on each pair of database and broker."""

import os
import random
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.brokers import repeated
from tests.support.processes import wait_until
from tests.support.services import repeats
from tests.support.stack import Stack, running_stack

PAIRS = [
    repeated(("sqlite", "filesystem"), id="sqlite-filesystem"),
    pytest.param(("postgres", "rabbitmq"), id="postgres-rabbitmq", marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
    repeated(("postgres", "redis"), id="postgres-redis", marks=[pytest.mark.postgres, pytest.mark.redis]),
]
DELIVERIES = 10 * repeats(20)


@pytest.fixture(params=PAIRS)
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    database, broker = request.param
    with running_stack(tmp_path, database=database, broker=broker, HOOKLINE_LEASE_MARGIN_SECONDS="2") as stack:
        stack.start_all()
        yield stack


def send_mixed(stack: Stack, draw: random.Random) -> Counter[int]:
    """Send deliveries of every kind that end well, some of them twice, some of them wrongly signed."""

    def send_one(number: int) -> list[int]:
        action = draw.choice(["work", "work", "work", "fail-once", "later", "nobody-listens"])
        guid = str(uuid.UUID(int=draw.getrandbits(128)))
        if number % 10 == 0:
            return [stack.send(action, guid=guid, secret="not the secret at all")[0]]
        answers = [stack.send(action, guid=guid, seconds=draw.choice([0, 0.02, 0.3]))[0]]
        return answers + ([stack.send(action, guid=guid)[0]] if number % 7 == 0 else [])

    with ThreadPoolExecutor(8) as senders:
        return Counter(status for answers in senders.map(send_one, range(DELIVERIES)) for status in answers)


def hold_the_account(stack: Stack, answers: Counter[int]) -> None:
    """Every accepted delivery is stored once, and every job of it has one recorded outcome and ended well."""
    assert answers.keys() == {200, 202, 401}
    (stored,) = stack.rows("SELECT count(*), sum(repeats) FROM webhooks_delivery")
    assert stored == (answers[202], answers[200])
    assert answers[401] == DELIVERIES // 10
    assert stack.states().keys() == {"succeeded"}
    assert stack.rows(
        "SELECT j.id FROM webhooks_job j WHERE 1 <> (SELECT count(*) FROM webhooks_attempt a"
        " WHERE a.job_id = j.id AND a.outcome = 'succeeded')"
    ) == []  # fmt: skip
    assert stack.rows("SELECT id FROM webhooks_attempt WHERE outcome = '' OR finished_at IS NULL") == []


@pytest.mark.slow
def test_every_accepted_delivery_ends_done_and_no_job_is_recorded_twice(stack: Stack) -> None:
    answers = send_mixed(stack, random.Random(1))
    stack.wait_until_drained()

    hold_the_account(stack, answers)
    runs = Counter(attempts for (attempts,) in stack.rows("SELECT attempt - budget_from_attempt FROM webhooks_job"))
    print("answers", dict(answers), "jobs by runs", dict(runs))
    assert stack.marks().total() == sum(attempts * jobs for attempts, jobs in runs.items())


def test_a_worker_killed_in_the_middle_loses_nothing(stack: Stack) -> None:
    with ThreadPoolExecutor(1) as sender:
        sending = sender.submit(send_mixed, stack, random.Random(2))
        wait_until(lambda: stack.states()["succeeded"] >= 10, what="the first jobs to be done")
        os.killpg(stack.processes[2][1].pid, signal.SIGKILL)
        stack.start("worker", "--concurrency", "4")
        answers = sending.result()
    stack.wait_until_drained()

    hold_the_account(stack, answers)
    lost = stack.rows("SELECT count(*) FROM webhooks_attempt WHERE outcome = 'lost'")[0][0]
    runs = Counter(attempts for (attempts,) in stack.rows("SELECT attempt - budget_from_attempt FROM webhooks_job"))
    print("answers", dict(answers), "jobs by runs", dict(runs), "runs lost with the worker", lost)
