"""A backlog in the inbox, two relays, a purged queue: does every job run, and how many messages does that take?

    python -m tests.benchmarks.relay_backlog --rows 1000000
    python -m tests.benchmarks.relay_backlog --rows 1000000 --run 60000

Fills a fresh PostgreSQL with waiting jobs, prints the plan of the relay's query at that size, starts two relays on
RabbitMQ (or Redis) and a worker, purges the queue while they work, and goes on until `--run` jobs are done (all of them
by default). Then it prints how much was published and the deepest the queue has been. What a claim costs at that size,
`growth` shows.
"""

import argparse
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
INSERT INTO webhooks_job (delivery_id, handler, queue, state, publish_at, attempt, max_attempts, forgiven,
                          lost, budget_from_attempt, result, error, fingerprint)
SELECT id, 'trial.work', 'trial', 'queued', now() + interval '5 s', 0, 5, 0, 0, 0, '', '', '' FROM webhooks_delivery;
ANALYZE;
"""
PLAN = """
EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, SUMMARY ON)
SELECT id, handler, queue FROM webhooks_job
WHERE queue = 'trial' AND publish_at <= statement_timestamp()
ORDER BY publish_at, id LIMIT 200
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
    stack.start("worker", "--concurrency", str(options.children))
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
    ((runs, jobs),) = stack.rows("SELECT sum(attempt), count(*) FROM webhooks_job WHERE state = 'succeeded'")
    return {
        "jobs done": f"{jobs:,} of {options.rows:,}",
        "runs of them": f"{runs:,}",
        "seconds": f"{seconds:,.0f}  ({jobs / seconds:,.0f} jobs/s)",
        "messages published": f"{published(stack):,}",
        "messages purged from the queue": f"{purged:,}",
        "deepest queue seen": f"{deepest:,}",
        "states": dict(stack.states()),
    }


def show(done: int, target: int, began: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:,} of {target:,} after {time.monotonic() - began:,.0f} s", end="", file=sys.stderr)


def published(stack: Stack) -> int:
    text = "".join(log.read_text() for log in stack.directory.glob("relay-*.log"))
    return sum(map(int, re.findall(r"\bpublished=(\d+)", text)))


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
