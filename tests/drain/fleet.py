"""The fault suite's fleet, with the drains' handlers and as yet without workers."""

import contextlib
from collections.abc import Iterator

from tests.faults.fleet import Fleet, running_fleet
from tests.faults.servers import Broker, OwnPostgres

APP = {"HOOKLINE_APPS": "tests.drain.team"}


@contextlib.contextmanager
def running_drain_fleet(postgres: OwnPostgres, broker: Broker) -> Iterator[Fleet]:
    with running_fleet(postgres, broker, **APP) as fleet:
        fleet.open(relays=1, workers=0)
        yield fleet
