"""How long do fifty quiet installations wait beside a noisy one with 50,000 waiting jobs, with `fair_by` and without?

    python -m tests.benchmarks.fairness
    python -m tests.benchmarks.fairness --noisy 5000 --seconds 5 --rounds 1

One worker of eight children works on a backlog of one installation. Meanwhile each of the quiet ones brings a job every
few seconds; a wait is from its commit to its claim, by the database's clock. Without `fair_by` a quiet job waits until
the backlog before it is done. Then claims of 32 jobs are timed on the same backlog, divided among more and more
parties; 0 parties is the claim of a queue without `fair_by`. On a PostgreSQL and a RabbitMQ of this benchmark's own.
"""

import argparse
import os
import threading
import time
from statistics import median
from typing import Any

import django
import psycopg

from tests.benchmarks.load import ACTION, EVENT
from tests.benchmarks.systems import fill, installation, servers, start_worker
from tests.benchmarks.table import Reading, Table, each, options
from tests.support.processes import free_port, wait_until
from tests.support.stack import Stack
from webhooks.github.sender import percentile
from webhooks.subscriptions.keys import fair_key

CHILDREN = 8
CLAIM, CLAIMS = 32, 60
NOISY = 1
APPS = {"without fair_by": "timed", "with fair_by": "timed_fairly"}
ADD = """
WITH delivery AS (
    INSERT INTO webhooks_delivery (source_id, hook_id, guid, event, action, repository, sender, secret_fingerprint,
                                   headers, body_bytes, repeats)
    SELECT id, 1, gen_random_uuid(), %(event)s, %(action)s, 'acme/quiet', 'octo', '',
           '{"Content-Type": "application/json"}', octet_length(%(body)s), 0
    FROM webhooks_source LIMIT 1
    RETURNING id
), payload AS (
    INSERT INTO webhooks_payload (delivery_id, body) SELECT id, convert_to(%(body)s, 'UTF8') FROM delivery
)
INSERT INTO webhooks_job (delivery_id, handler, queue, state, publish_at, attempt, max_attempts, forgiven,
                          lost, budget_from_attempt, result, error, fingerprint, fair_key)
SELECT id, %(handler)s, 'trial', 'queued', now(), 0, 5, 0, 0, 0, '', '', '', %(party)s FROM delivery
"""
OF_QUIET = "FROM webhooks_job JOIN webhooks_delivery AS delivery ON delivery.id = delivery_id"
DIVIDE = """
UPDATE webhooks_job
SET fair_key = left(md5((id %% %(parties)s)::text), 6) || ':github:installation:' || id %% %(parties)s
"""


def main() -> None:
    parser = options(__doc__, seconds=20, rounds=1)
    parser.add_argument("--noisy", type=int, default=50_000, help="jobs that wait (default %(default)s)")
    parser.add_argument("--quiet", type=int, default=50, help="installations beside it (default %(default)s)")
    parser.add_argument("--every", type=float, default=4, help="seconds between two jobs of one (default %(default)g)")
    parser.add_argument("--work", type=float, default=5, help="ms that a job takes (default %(default)g)")
    told = parser.parse_args()
    waits = Table("Waits of the quiet ones in s, beside a backlog of one")
    claims = Table(f"A claim of {CLAIM} jobs of {told.noisy:,} that wait, in ms")
    with servers(told.broker) as (database, broker):
        for name in each(told.rounds, list(APPS)):
            apps = {"HOOKLINE_APPS": f"tests.apps.trial,tests.benchmarks.{APPS[name]}"}
            with installation(database, broker, **apps) as stack:
                waits.add(name, measure(stack, told, handler=f"{APPS[name]}.sleep", is_fair=name == "with fair_by"))
        with installation(database, broker) as stack:
            os.environ |= stack.settings() | {"HOOKLINE_LOG_LEVEL": "ERROR"}
            django.setup()
            fill(stack, body(0), jobs=told.noisy)
            for parties in (0, 1, 50, 5_000):
                claims.add(f"{parties:,} parties", claims_of(stack, parties))
    waits.print()
    claims.print()


def body(work: float) -> bytes:
    return f'{{"action":"{ACTION}","client_payload":{{"seconds":{work / 1000}}}}}'.encode()


def party_of(number: int) -> str:
    return fair_key("installation", handler="trial", source="github", payload={"installation": {"id": number}})


def measure(stack: Stack, told: argparse.Namespace, *, handler: str, is_fair: bool) -> Reading:
    fill(stack, body(told.work), jobs=told.noisy, handler=handler)
    if is_fair:
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute("UPDATE webhooks_job SET fair_key = %s", [party_of(NOISY)])
            connection.execute("VACUUM ANALYZE webhooks_job")
    stack.start("relay", HOOKLINE_PROBE_PORT=str(free_port()))
    start_worker(stack, CHILDREN)
    wait_until(lambda: done(stack) > CHILDREN, what="the first jobs to be done")
    before, began = done(stack), time.monotonic()
    sender = threading.Thread(target=send_quiet, args=[stack, told], kwargs={"handler": handler, "is_fair": is_fair})
    sender.start()
    sender.join()
    jobs_a_second = (done(stack) - before) / (time.monotonic() - began)
    left = f"SELECT count(*) {OF_QUIET} WHERE delivery.repository = 'acme/quiet' AND claimed_at IS NULL"
    wait_until(lambda: not stack.rows(left)[0][0], seconds=900, what="the quiet ones' jobs to be claimed")
    found = stack.rows(
        f"SELECT extract(epoch FROM claimed_at - created_at) {OF_QUIET} WHERE delivery.repository = 'acme/quiet'"
    )
    seconds = sorted(float(one) for (one,) in found)
    return {
        "quiet jobs": len(seconds),
        "p50": percentile(seconds, 0.5),
        "p99": percentile(seconds, 0.99),
        "most": seconds[-1],
        "jobs/s": jobs_a_second,
    }


def send_quiet(stack: Stack, told: argparse.Namespace, *, handler: str, is_fair: bool) -> None:
    """Bring the quiet ones' jobs, evenly spread over the time."""
    gap, ends_at = told.every / told.quiet, time.monotonic() + told.seconds
    values: dict[str, Any] = {"event": EVENT, "action": ACTION, "handler": handler, "body": body(told.work).decode()}
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        number = 0
        while time.monotonic() < ends_at:
            party = party_of(2 + number % told.quiet) if is_fair else None
            connection.execute(ADD.encode(), values | {"party": party})
            number += 1
            time.sleep(gap)


def done(stack: Stack) -> int:
    return int(stack.rows("SELECT count(*) FROM webhooks_job WHERE state = 'succeeded'")[0][0])


def claims_of(stack: Stack, parties: int) -> Reading:
    """Time claims as a dispatcher makes them, each given back."""
    from webhooks.inbox import transitions
    from webhooks.inbox.claimed_job import Wanted
    from webhooks.inbox.engine import engine
    from workers.dispatcher.rounds import Rounds

    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        if parties:
            connection.execute(DIVIDE.encode(), {"parties": parties})
        connection.execute("VACUUM ANALYZE webhooks_job")
    engine().prepare_connection(wait_seconds=1.0)
    rounds = Rounds(lambda: {"trial"} if parties else ())
    taken: list[float] = []
    for _ in range(CLAIMS):
        wanted = Wanted(
            worker="benchmark",
            leases={"timed.sleep": 60.0},
            limit=CLAIM,
            queue="trial",
            after=rounds.after("trial"),
        )
        began = time.perf_counter()
        _, jobs = transitions.exchange([], wanted)
        taken.append(1000 * (time.perf_counter() - began))
        assert len(jobs) == CLAIM, "Too few jobs wait."
        rounds.claimed(wanted, jobs)
        transitions.release(jobs)
    taken.sort()
    return {"p50": median(taken), "p99": percentile(taken, 0.99)}


if __name__ == "__main__":
    main()
