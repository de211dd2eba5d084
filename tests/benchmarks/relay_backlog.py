"""A backlog in the inbox, two relays, a purged queue: does every job run, and how many messages are published twice?

    python -m tests.benchmarks.relay_backlog --rows 1000000 --workers stand-in
    python -m tests.benchmarks.relay_backlog --rows 1000000 --run 60000

Fills a fresh PostgreSQL with waiting jobs, prints the plan of the relay's query at that size, starts two relays on
RabbitMQ (or Redis) and a worker, purges the queue while they work, and goes on until `--run` jobs are done (all of them
by default). Then it prints what was published, how often twice, and the deepest the queue has been.

`--workers stand-in` takes the worker's place with a process that marks the jobs of many messages as run in one
statement, under the claim's condition: it shows the relay with a million rows in minutes, and says nothing of workers.
"""

import argparse
import contextlib
import multiprocessing
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import kombu
import psycopg

from tests.support import services
from tests.support.processes import wait_until
from tests.support.stack import Stack, empty_broker, running_stack

FILL = """
INSERT INTO webhooks_source (name, url) VALUES ('github', 'https://github.com');
INSERT INTO webhooks_delivery (source_id, hook_id, guid, event, action, repository, sender, secret_fingerprint, headers,
                               body_bytes, repeats)
SELECT (SELECT id FROM webhooks_source), 1, gen_random_uuid(), 'repository_dispatch', 'work', 'acme/widgets', 'octo',
       '', '{{"Content-Type": "application/json"}}', 40, 0
FROM generate_series(1, {rows});
INSERT INTO webhooks_payload (delivery_id, body)
SELECT id, convert_to('{{"action": "work", "client_payload": {{}}}}', 'UTF8') FROM webhooks_delivery;
INSERT INTO webhooks_job (delivery_id, handler, queue, state, publish_at, publications, attempt, max_attempts, forgiven,
                          lost, budget_from_attempt, result, error, fingerprint)
SELECT id, 'trial.work', 'trial', 'queued', now() + interval '5 s', 0, 0, 5, 0, 0, 0, '', '', '' FROM webhooks_delivery;
ANALYZE;
"""
RUN = """
UPDATE webhooks_job SET state = 'succeeded', attempt = attempt + 1, publish_at = NULL, finished_at = now()
WHERE id = ANY(%s) AND state = 'queued'
"""
PLAN = """
EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, SUMMARY ON)
SELECT id, handler, queue, publications, due_at FROM webhooks_job
WHERE queue = 'trial' AND publish_at <= statement_timestamp()
ORDER BY publish_at, id LIMIT 500 FOR UPDATE SKIP LOCKED
"""


def main() -> None:
    options = read_options()
    with (
        tempfile.TemporaryDirectory() as directory,
        running_stack(Path(directory), database="postgres", broker=options.broker) as stack,
    ):
        stack.manage("migrate", "-v0")
        began = time.monotonic()
        fill(stack, options.rows)
        print(f"filled {options.rows:,} waiting jobs in {time.monotonic() - began:.0f} s")
        time.sleep(5)  # Until all of them are due.
        print(plan(stack))
        report(run(stack, options))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--run", type=int, help="stop once so many jobs are done; all of them by default")
    parser.add_argument("--broker", choices=["rabbitmq", "redis"], default="rabbitmq")
    parser.add_argument("--workers", choices=["celery", "stand-in"], default="celery")
    parser.add_argument("--children", type=int, default=4)
    return parser.parse_args()


def fill(stack: Stack, rows: int) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        for statement in FILL.format(rows=rows).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())


def plan(stack: Stack) -> str:
    return "\n".join(line for (line,) in stack.rows(PLAN))


def run(stack: Stack, options: argparse.Namespace) -> dict[str, Any]:
    target = min(options.run or options.rows, options.rows)
    stack.start("relay")
    stack.start("relay")
    if options.workers == "celery":
        stack.start("worker", "--concurrency", str(options.children))
    else:
        stand_in = (stack.database_url, stack.broker_url)
        wait_until(lambda: depth(stack), what="the relay to publish")
        multiprocessing.get_context("spawn").Process(target=mark_as_run, args=stand_in, daemon=True).start()
    began, deepest, purged = time.monotonic(), 0, 0
    while (done := stack.states()["succeeded"]) < target:
        deepest = max(deepest, depth(stack))
        if not purged and done >= target // 4:
            purged = depth(stack)
            empty(options.broker)
        assert time.monotonic() - began < 4 * 3600, "gave up after four hours"
        show(done, target, began)
        time.sleep(1)
    seconds = time.monotonic() - began
    left = target < options.rows
    if not left:
        wait_until(stack.is_drained, seconds=120, what="every job to be final")
    relayed = relay_totals(stack)
    ((runs, jobs),) = stack.rows("SELECT sum(attempt), count(*) FROM webhooks_job WHERE state = 'succeeded'")
    return {
        "jobs done": f"{jobs:,} of {options.rows:,}",
        "runs of them": f"{runs:,}",
        "seconds": f"{seconds:,.0f}  ({jobs / seconds:,.0f} jobs/s)",
        "messages published": f"{relayed['published']:,}",
        "of these, not for the first time": f"{relayed['again']:,}",
        "messages purged from the queue": f"{purged:,}",
        "deepest queue seen": f"{deepest:,}",
        "states": dict(stack.states()),
    }


def mark_as_run(database_url: str, broker_url: str) -> None:
    """Consume until killed: claim and end the jobs of up to 200 messages in one statement."""
    with psycopg.connect(database_url, autocommit=True) as database, kombu.Connection(broker_url) as connection:
        waiting: list[Any] = []
        queue = kombu.Queue("trial", no_declare=True)
        with connection.Consumer(queue, on_message=waiting.append, prefetch_count=400, accept=["json"]):
            while True:
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=0.05)
                    while len(waiting) < 200:
                        connection.drain_events(timeout=0.002)
                database.execute(RUN, [[message.payload[0][0] for message in waiting]])
                for message in waiting:
                    message.ack()
                waiting.clear()


def show(done: int, target: int, began: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:,} of {target:,} after {time.monotonic() - began:,.0f} s", end="", file=sys.stderr)


def relay_totals(stack: Stack) -> dict[str, int]:
    text = "".join(log.read_text() for log in stack.directory.glob("relay-*.log"))
    return {name: sum(map(int, re.findall(rf"\b{name}=(\d+)", text))) for name in ("published", "again")}


def depth(stack: Stack) -> int:
    with kombu.Connection(stack.broker_url) as connection:
        channel: Any = connection.default_channel
        try:
            return int(channel.queue_declare("trial", passive=True).message_count)
        except connection.channel_errors:
            return 0


def empty(broker: str) -> None:
    """Lose the messages that wait; on RabbitMQ the queue itself stays, for the worker consumes from it."""
    if broker == "redis":
        empty_broker(broker)
        return
    with kombu.Connection(services.RABBITMQ_URL) as connection:
        channel: Any = connection.default_channel
        channel.queue_purge("trial")


def report(figures: dict[str, Any]) -> None:
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    main()
