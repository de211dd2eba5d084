"""The fault suite's short form: what a team would notice first. `make faults` runs the whole of it."""

from collections.abc import Iterator

import pytest

from tests.faults.rabbitmq import rabbitmq_program
from tests.faults.scene import SHORT, Case
from tests.faults.servers import Broker, OwnPostgres, own_postgres, postgres_program
from tests.faults.suite import CASES, own_broker, run_safely
from tests.faults.table import lines
from tests.support import services

IN_THE_SHORT_FORM = (1, 3, 8, 9, 12, 14, 18, 27)
CHOSEN = [pytest.param(case, id=case.name.replace(" ", "-")) for case in CASES if case.number in IN_THE_SHORT_FORM]

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    require_program("postgres", postgres_program("postgres"))
    with own_postgres() as server:
        yield server


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param("redis", marks=pytest.mark.redis),
    ],
)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "rabbitmq":
        require_program("rabbitmq", rabbitmq_program("rabbitmq-server"))
    with own_broker(request.param) as server:
        yield server


def require_program(service: str, path: str) -> None:
    """A service that answers may run elsewhere; the suite needs its program here, to start one of its own."""
    if path:
        return
    if services.REQUIRED:
        pytest.fail(f"{service} is not installed on this machine", pytrace=False)
    pytest.skip(f"not run for want of a service: {service}")


@pytest.mark.parametrize("case", CHOSEN)
def test_nothing_is_lost_and_nothing_runs_away(case: Case, broker: Broker, postgres: OwnPostgres) -> None:
    result = run_safely(case, broker, postgres, SHORT)
    print("\n".join(lines([result])))
    assert result.failures == []
