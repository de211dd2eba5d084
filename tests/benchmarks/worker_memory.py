"""What a worker of 1, 8 and 70 children holds in memory, before and after what is done about it, and over many jobs.

    python -m tests.benchmarks.worker_memory
    python -m tests.benchmarks.worker_memory --children 12 --orm --variants all
    python -m tests.benchmarks.worker_memory --children 70 --jobs 100000 --variants after

Starts a PostgreSQL and a RabbitMQ of its own, a relay, and for each line a real `manage.py worker`; reads the
proportional set size of the parent and all below it once all are there, while they work, and after the jobs. The jobs
are long enough to keep all children busy, since one that has run nothing has written to nothing. What was done about
memory is undone for a line by `worker_start/sitecustomize.py`; the command is the same.

A page that n processes share counts 1/n in each of them, so the sum is what the pod holds. "anon" is the part of it
that no file backs, which the kernel can never take back.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kombu
import psycopg

from tests.faults.process_tree import descendants_of
from tests.faults.rabbitmq import own_rabbitmq
from tests.faults.servers import own_postgres
from tests.support.processes import ROOT, free_port, wait_until
from tests.support.stack import QUEUES, Stack
from webhooks.github import samples

AT_START = ROOT / "tests" / "benchmarks" / "worker_start"
READINGS = 8
"""How often memory is read while the jobs run."""
FILL = """
INSERT INTO webhooks_source (name, url) VALUES ('github', 'https://github.com') ON CONFLICT DO NOTHING;
WITH delivery AS (
    INSERT INTO webhooks_delivery (source_id, hook_id, guid, event, action, repository, sender, secret_fingerprint,
                                   headers, body_bytes, repeats)
    SELECT (SELECT id FROM webhooks_source), 1, gen_random_uuid(), 'repository_dispatch', 'work', 'acme/widgets',
           'octo', '', '{"Content-Type": "application/json"}', octet_length(%(body)s), 0
    FROM generate_series(1, %(jobs)s)
    RETURNING id
), payload AS (
    INSERT INTO webhooks_payload (delivery_id, body) SELECT id, convert_to(%(body)s, 'UTF8') FROM delivery
)
INSERT INTO webhooks_job (delivery_id, handler, queue, state, publish_at, publications, attempt, max_attempts, forgiven,
                          lost, budget_from_attempt, result, error, fingerprint)
SELECT id, 'trial.work', 'trial', 'queued', now(), 0, 0, 5, 0, 0, 0, '', '', '' FROM delivery;
ANALYZE
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the worker: what is changed at the start of each of its processes, and its environment."""

    at_start: str = ""
    """A name in `worker_start/sitecustomize.py`."""
    environment: dict[str, str] = field(default_factory=dict)


VARIANTS = {
    "before": Variant("not connected"),
    "after": Variant(),
    "no warm-up": Variant("no warm-up"),
    "warm-up of 1 run": Variant("warm-up of 1 run"),
    "warm-up of 5 runs": Variant("warm-up of 5 runs"),
    "no GSS": Variant(environment={"PGGSSENCMODE": "disable"}),
    "no immortals": Variant("no immortals"),
    "no collect": Variant("no collect"),
    "no freeze": Variant("no freeze"),
    "gc off until then": Variant("gc off until then"),
    "lean apps": Variant("lean apps"),
    "one malloc arena": Variant(environment={"MALLOC_ARENA_MAX": "1"}),
    "trim at 64 KB": Variant(environment={"MALLOC_TRIM_THRESHOLD_": "65536"}),
    "PYTHONMALLOC=malloc": Variant(environment={"PYTHONMALLOC": "malloc"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a parent, its probe process and its children hold, in MB."""

    total: float
    anonymous: float
    parent: float
    child: float
    """The median child's."""


def main() -> None:
    options = read_options()
    print(HEAD)
    with servers() as (database, broker):
        for children in options.children:
            for name in options.variants:
                line(name, children=children, options=options, database=database, broker=broker)


HEAD = (
    f"{'variant':<22}{'children':>9}{'at start':>10}{'after':>8}{'highest':>9}{'anon':>8}{'parent':>8}{'child':>7}"
    f"{'jobs':>9}{'jobs/s':>8}{'cores':>7}  over the jobs"
)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, nargs="+", default=[1, 8, 70])
    parser.add_argument("--jobs", type=int, help="for each line; 40 for each child by default")
    parser.add_argument("--work", type=float, default=0.25, metavar="SECONDS", help="how long a job sleeps")
    parser.add_argument("--orm", action="store_true", help="have the handler use Django's ORM, too")
    parser.add_argument("--variants", nargs="+", default=["before", "after"], choices=[*VARIANTS, "all"])
    options = parser.parse_args()
    if "all" in options.variants:
        options.variants = list(VARIANTS)
    return options


def line(name: str, *, children: int, options: argparse.Namespace, database: str, broker: str) -> None:
    """Run one variant with so many children, and print what it held."""
    jobs = options.jobs or 40 * children
    with pod(VARIANTS[name], database=database, broker=broker) as stack:
        parent = start_worker(stack, children)
        at_start = memory_of(parent)
        fill(stack, jobs=jobs, seconds_of_work=options.work, orm=options.orm)
        began, cpu = time.monotonic(), cpu_seconds([parent])
        stack.start("relay")
        readings = watch(stack, parent, jobs)
        seconds, cpu = time.monotonic() - began, cpu_seconds([parent]) - cpu
        after = memory_of(parent)
        idle = children - ran(stack)
    highest = max(reading.total for reading in readings)
    print(
        f"{name:<22}{children:>9}{at_start.total:>10.0f}{after.total:>8.0f}{highest:>9.0f}{after.anonymous:>8.0f}"
        f"{after.parent:>8.1f}{after.child:>7.1f}{jobs:>9,}{jobs / seconds:>8.0f}{cpu / seconds:>7.2f}  "
        + " ".join(f"{reading.total:.0f}" for reading in readings)
        + (f"  ({idle} children ran nothing)" if idle > 0 else ""),
        flush=True,
    )


@contextlib.contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """Yield the URLs of a migrated database and of a broker, both of this benchmark's own."""
    with own_postgres() as postgres, own_rabbitmq() as rabbitmq, tempfile.TemporaryDirectory() as directory:

        def migrate(url: str) -> None:
            Stack(Path(directory), url, rabbitmq.url).manage("migrate", "-v0")

        yield postgres.fresh(migrate=migrate), rabbitmq.url


@contextlib.contextmanager
def pod(variant: Variant, *, database: str, broker: str) -> Iterator[Stack]:
    """A stack on an empty inbox whose processes start as the variant says; all ended at the end."""
    with tempfile.TemporaryDirectory() as directory:
        empty(database, broker)
        start = {
            "PYTHONPATH": f"{AT_START}{os.pathsep}{ROOT}",
            "BENCHMARK_AT_START": variant.at_start,
            "HOOKLINE_CHILD_MAX_JOBS": "100000",
        }
        stack = Stack(Path(directory), database, broker, start | variant.environment)
        try:
            yield stack
        except BaseException:
            print(stack.logs()[-5000:])
            raise
        finally:
            stack.stop_all()


def empty(database: str, broker: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("TRUNCATE webhooks_source CASCADE")
    with kombu.Connection(broker) as connection:
        channel: Any = connection.default_channel
        for queue in QUEUES:
            channel.queue_delete(queue)


def start_worker(stack: Stack, children: int) -> int:
    """Start a worker, and return its process id once it consumes and all of its children are there."""
    parent = stack.start("worker", "--concurrency", str(children), HOOKLINE_PROBE_PORT=str(free_port())).pid
    log = stack.directory / f"worker-{len(stack.processes) - 1}.log"
    wait_until(lambda: " ready." in log.read_text(), what="the worker to be ready")
    wait_until(lambda: len(descendants_of(parent)) > children, what="all children to be there")
    time.sleep(2)  # Until the last of them has set itself up; nothing says so.
    return parent


def fill(stack: Stack, *, jobs: int, seconds_of_work: float, orm: bool = False) -> None:
    """Put so many due jobs into the inbox, each with GitHub's payload of a push beside what the handler reads."""
    payload = samples.load("push") | {"client_payload": {"seconds": seconds_of_work, "orm": orm}}
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        for statement in FILL.split(";\n"):
            connection.execute(statement.encode(), {"jobs": jobs, "body": json.dumps(payload)})


def watch(stack: Stack, parent: int, jobs: int) -> list[Memory]:
    """Read the memory now and then until all jobs are done."""
    readings: list[Memory] = []
    while (done := stack.states()["succeeded"]) < jobs:
        if done * READINGS >= jobs * len(readings) and done:
            readings.append(memory_of(parent))
            print(f"  {done:,} jobs: {readings[-1].total:.0f} MB", file=sys.stderr, flush=True)
        time.sleep(0.2)
    return [*readings, memory_of(parent)]


def ran(stack: Stack) -> int:
    """Return how many processes have run something."""
    ((count,),) = stack.rows("SELECT count(DISTINCT pid) FROM webhooks_attempt")
    return int(count)


def memory_of(parent: int) -> Memory:
    """Read what the kernel says of the parent and of all below it."""
    all_pss = [pss(pid) for pid in [parent, *descendants_of(parent)]]
    return Memory(
        total=sum(total for total, _ in all_pss),
        anonymous=sum(anonymous for _, anonymous in all_pss),
        parent=all_pss[0][0],
        child=statistics.median(total for total, _ in all_pss[1:]),
    )


def pss(pid: int) -> tuple[float, float]:
    """Return a process's proportional set size in MB, and its anonymous part. https://docs.kernel.org/filesystems/proc.html"""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return sizes["Pss"], sizes["Pss_Anon"]


def cpu_seconds(parents: Sequence[int], *, alone: bool = False) -> float:
    """Return what these processes have used of the CPU; unless `alone`, with all below them, ended ones too."""
    below = [] if alone else [pid for parent in parents for pid in descendants_of(parent)]
    return sum(_cpu(pid, with_ended=not alone) for pid in parents) + sum(_cpu(pid, with_ended=False) for pid in below)


def _cpu(pid: int, *, with_ended: bool) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_ended else 13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
