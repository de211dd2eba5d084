"""Which cases there are, and how they are run one after the other on servers that they share."""

import contextlib
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tests.faults import (
    broker_cases,
    database_cases,
    dispatcher_cases,
    embedded_cases,
    handler_cases,
    receiver_cases,
    relay_cases,
    worker_cases,
)
from tests.faults.fleet import running_fleet
from tests.faults.load import Load
from tests.faults.rabbitmq import own_rabbitmq
from tests.faults.scene import HEADROOM, Case, Pace, Result, drain, run
from tests.faults.servers import Broker, Embedded, OwnPostgres, own_postgres, own_redis

CASES: tuple[Case, ...] = tuple(
    sorted(
        (
            *worker_cases.CASES,
            *handler_cases.CASES,
            *relay_cases.CASES,
            *receiver_cases.CASES,
            *broker_cases.CASES,
            *database_cases.CASES,
            *dispatcher_cases.CASES,
            *embedded_cases.CASES,
        ),
        key=lambda case: case.number,
    )
)
TRIED = 250
"""Deliveries that are sent at once to see what the fleet can do."""


def run_all(cases: Sequence[Case], brokers: Sequence[str], pace: Pace, *, measured: bool) -> Iterator[Result]:
    """Run the cases on each broker; with `measured`, at most at the rate that this machine carries."""
    with own_postgres() as postgres:
        for name in brokers:
            chosen = [case for case in cases if name in case.brokers]
            if not chosen:
                continue
            with own_broker(name) as broker:
                carried = replace(pace, rate=carried_rate(broker, postgres, pace)) if measured else pace
                for case in chosen:
                    yield run_safely(case, broker, postgres, carried)


def carried_rate(broker: Broker, postgres: OwnPostgres, pace: Pace) -> float:
    """Return the wanted rate, or a part of what the fleet does in a burst if that is less."""
    with running_fleet(postgres, broker) as fleet:
        fleet.open()
        load = Load(f"http://127.0.0.1:{fleet.port}/webhooks/github", fleet.secret, rate=TRIED * 10, seed=pace.seed)
        began = time.monotonic()
        load.start()
        time.sleep(0.1)
        while len(load.sent) < TRIED:
            time.sleep(0.01)
        load.stop()
        drain(fleet)
        able = len(load.sent) / (time.monotonic() - began)
    rate = min(pace.rate, round(HEADROOM * able, 1))
    print(f"{broker.name}: the fleet does {able:.0f} deliveries/s here; the load is {rate:g}/s", flush=True)
    return rate


def run_safely(case: Case, broker: Broker, postgres: OwnPostgres, pace: Pace) -> Result:
    """Run a case; one that breaks off must not keep the others from running, so its servers are brought back."""
    try:
        if case.consumer_timeout_ms:
            with own_rabbitmq(consumer_timeout_ms=case.consumer_timeout_ms) as impatient:
                return run(case, impatient, postgres, pace)
        return run(case, broker, postgres, pace)
    except Exception as error:
        traceback.print_exc()
        for server in (broker, postgres):
            server.stop()
            server.start()
        return Result(case.number, case.name, broker.name, failures=[f"broke off: {error}"])


def own_broker(name: str) -> contextlib.AbstractContextManager[Broker]:
    if name == "filesystem":
        return contextlib.nullcontext(Embedded())
    return own_rabbitmq() if name == "rabbitmq" else own_redis()
