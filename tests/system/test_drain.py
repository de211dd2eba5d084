"""The drain's short form: workers stopped as Kubernetes does it, while they work. `make drain` is the whole of it."""

import random
from collections.abc import Iterator

import pytest

from tests.drain import drains, storm
from tests.drain.drains import SHORT_FORM, SHORT_OF_TIME
from tests.drain.fleet import running_drain_fleet
from tests.drain.report import Report
from tests.drain.table import lines
from tests.faults.fleet import Fleet
from tests.faults.rabbitmq import rabbitmq_program
from tests.faults.servers import OwnPostgres, own_postgres, postgres_program
from tests.faults.suite import own_broker
from tests.system.test_faults import require_program

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

RABBITMQ = pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)
REDIS = pytest.param("redis", marks=pytest.mark.redis)


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    require_program("postgres", postgres_program("postgres"))
    with own_postgres() as server:
        yield server


@pytest.fixture(scope="module", params=[RABBITMQ, REDIS])
def broker(request: pytest.FixtureRequest) -> str:
    if request.param == "rabbitmq":
        require_program("rabbitmq", rabbitmq_program("rabbitmq-server"))
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def fleet(postgres: OwnPostgres, broker: str) -> Iterator[Fleet]:
    """An installation without workers, on servers of its own; its tests draw different deliveries."""
    with own_broker(broker) as server, running_drain_fleet(postgres, server) as fleet:
        yield fleet


def shown(report: Report) -> list[str]:
    print("\n".join(lines([report])))
    return report.failures


def test_a_stopped_worker_lets_all_its_handlers_finish(fleet: Fleet, broker: str) -> None:
    assert shown(drains.run(fleet, SHORT_FORM, broker=broker, draw=random.Random(1))) == []


@pytest.mark.parametrize("broker", [REDIS], indirect=True, scope="module")
def test_a_worker_with_too_little_time_hands_back_what_it_runs_and_another_does_it(fleet: Fleet, broker: str) -> None:
    assert shown(drains.run(fleet, SHORT_OF_TIME, broker=broker, draw=random.Random(2))) == []


@pytest.mark.parametrize("broker", [RABBITMQ], indirect=True, scope="module")
def test_workers_come_and_go_and_nobody_notices(fleet: Fleet, broker: str) -> None:
    assert shown(storm.run(fleet, storm.SHORT, broker=broker, draw=random.Random(3))) == []
