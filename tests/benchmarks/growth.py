"""Does it stay fast? Acknowledging, claims, the relay and the admin beside ten million deliveries, and a million jobs.

    python -m tests.benchmarks.growth
    python -m tests.benchmarks.growth --deliveries 100000 --waiting 10000 --seconds 3 --rounds 1

The same is measured three times on one PostgreSQL: on an empty inbox, beside `--deliveries` that are done, and with
`--waiting` due jobs besides. Acknowledged are pushes over sixteen connections; the claims are those of a worker's
dispatcher, of 32 jobs each, given back afterwards; the relay is watched while no worker runs; jobs are done by a worker
of eight children whose handler does nothing; the admin's pages are asked for in this process. Last comes the plan of a
claim as PostgreSQL has run it.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from statistics import median

import django

from tests.benchmarks.load import body_of, send
from tests.benchmarks.process_use import cpu_by_kind
from tests.benchmarks.systems import empty, fill, has_waiting, installation, servers, wait_for_worker
from tests.benchmarks.table import Reading, Table, options
from tests.support.processes import free_port
from tests.support.stack import Stack
from webhooks.github.sender import percentile

CLAIM, CLAIMS = 32, 100
CHILDREN = 8
SMALL = b'{"action":"sleep","client_payload":{"seconds":0}}'
PAGES, TIMES_A_PAGE = ("delivery", "job"), 5


@dataclass(frozen=True, slots=True)
class Inbox:
    """What is there before a measurement."""

    name: str
    stored: int = 0
    """Deliveries that are done."""
    waiting: int = 0
    """Due jobs besides: too many to do all of them."""


def main() -> None:
    parser = options(__doc__, seconds=6, rounds=3)
    parser.add_argument("--deliveries", type=int, default=10_000_000)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    told = parser.parse_args()
    table = Table("Beside what is stored; claims, pages and p99 in ms, the relay in percent of a core")
    with servers(told.broker) as (database, broker), installation(database, broker) as stack:
        os.environ |= stack.settings() | {"HOOKLINE_LOG_LEVEL": "ERROR"}
        django.setup()  # This process asks the same inbox, by the code of a worker's dispatcher and of the admin.
        for inbox in (
            Inbox("empty"),
            Inbox(f"{told.deliveries:,} stored", told.deliveries),
            Inbox(f"and {told.waiting:,} waiting", told.deliveries, told.waiting),
        ):
            prepare(inbox, stack)
            for _ in range(told.rounds):
                table.add(inbox.name, measure(inbox, stack, told.seconds))
        plan = plan_of_a_claim()
    table.print()
    print(f"\n{plan}")


def prepare(inbox: Inbox, stack: Stack) -> None:
    from tests.benchmarks.stored import store

    if inbox.waiting:
        fill(stack, SMALL, jobs=inbox.waiting)
    elif inbox.stored:
        empty(stack.database_url, stack.broker_url)
        store(inbox.stored, days=30, body_bytes=200, every_dead=1000)


def measure(inbox: Inbox, stack: Stack, seconds: float) -> Reading:
    with running(stack, "receiver"):
        stack.wait_until_ready()
        send(stack, body_of(), seconds=1, connections=4)
        answers = send(stack, body_of(), seconds=seconds, connections=16)
    claims = sorted(claim() for _ in range(CLAIMS))
    with running(stack, "relay"):
        time.sleep(3)
        before, began = cpu_by_kind(stack), time.monotonic()
        time.sleep(seconds)
        of_relay = 100 * (cpu_by_kind(stack)["relay"] - before["relay"]) / (time.monotonic() - began)
        ((since,),) = stack.rows("SELECT now()")
        with running(stack, "worker", "--concurrency", str(CHILDREN)):
            wait_for_worker(stack, CHILDREN)
            began = time.monotonic()
            while has_waiting(stack) and not (inbox.waiting and time.monotonic() - began > seconds):
                time.sleep(0.1)
    return {
        "acks/s": answers.acknowledged / answers.seconds,
        "ack p99": answers.p99,
        "claim p50": percentile(claims, 0.5),
        "claim p99": percentile(claims, 0.99),
        "relay": of_relay,
        "jobs/s": jobs_a_second(stack, since, stored=inbox.stored),
        **{f"{name} page": median(page(name) for _ in range(TIMES_A_PAGE)) for name in PAGES},
    }


@contextlib.contextmanager
def running(stack: Stack, *command: str) -> Iterator[None]:
    process = stack.start(*command, HOOKLINE_PROBE_PORT=str(free_port()))
    yield
    process.terminate()
    process.wait(60)
    stack.processes.pop()


def claim() -> float:
    """Claim jobs as a dispatcher does, and give them back; return how many ms the claim took."""
    from webhooks.inbox import transitions
    from webhooks.inbox.claimed_job import Wanted

    wanted = Wanted(worker="benchmark", leases={"timed.sleep": 60.0}, limit=CLAIM, queue="trial")
    began = time.perf_counter()
    _, jobs = transitions.exchange([], wanted)
    taken = time.perf_counter() - began
    assert len(jobs) == CLAIM, "Too few jobs wait."
    transitions.release(jobs)
    return 1000 * taken


def plan_of_a_claim() -> str:
    """Return the plan with which PostgreSQL runs a claim, as it tells of it itself."""
    from django.db import connection

    notices: list[str] = []
    connection.ensure_connection()
    connection.connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    with connection.cursor() as cursor:
        cursor.execute("LOAD 'auto_explain'")
        cursor.execute("SET auto_explain.log_analyze = on; SET auto_explain.log_buffers = on")
        cursor.execute("SET client_min_messages = log; SET auto_explain.log_min_duration = 0")
    claim()
    return next(notice for notice in notices if "SKIP LOCKED" in notice)


def page(name: str) -> float:
    """Ask for the first page of a list in the admin, and return how many ms it took."""
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(get_user_model().objects.get_or_create(username="op", is_superuser=True, is_staff=True)[0])
    began = time.perf_counter()
    response = client.get(reverse(f"admin:webhooks_{name}_changelist"))
    assert response.status_code == 200, response.status_code
    return 1000 * (time.perf_counter() - began)


def jobs_a_second(stack: Stack, since: datetime, *, stored: int) -> float:
    """Return the rate at which jobs were done since then; those with lower ids were done before, and are not read."""
    ((jobs, seconds),) = stack.rows(
        "SELECT count(*), extract(epoch FROM max(finished_at) - min(finished_at)) FROM webhooks_job"
        f" WHERE id > {stored} AND finished_at > '{since.isoformat()}' AND state = 'succeeded'"
    )
    return float(jobs / seconds)


if __name__ == "__main__":
    main()
