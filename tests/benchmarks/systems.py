"""What is measured: Hookline, on servers of the benchmark's own or embedded, and the plain Django and Celery beside.

Each is started by the commands that a user would start it with, on an empty inbox.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import kombu
import psycopg
import redis

from tests.benchmarks.load import ACTION, EVENT, body_of
from tests.benchmarks.table import each
from tests.faults.process_tree import descendants_of
from tests.faults.rabbitmq import own_rabbitmq
from tests.faults.servers import own_postgres, own_redis
from tests.support.processes import ROOT, free_port, wait_until
from tests.support.stack import QUEUES, Stack

SETTINGS = {"HOOKLINE_APPS": "tests.apps.trial,tests.benchmarks.timed", "HOOKLINE_CHILD_MAX_JOBS": "100000"}
GUNICORN_PROCESSES, GUNICORN_THREADS = 2, 8
FILL = """
INSERT INTO webhooks_source (name, url) VALUES ('github', 'https://github.com') ON CONFLICT DO NOTHING;
WITH delivery AS (
    INSERT INTO webhooks_delivery (source_id, hook_id, guid, event, action, repository, sender, secret_fingerprint,
                                   headers, body_bytes, repeats)
    SELECT (SELECT id FROM webhooks_source), 1, gen_random_uuid(), %(event)s, %(action)s, 'acme/widgets',
           'octo', '', '{"Content-Type": "application/json"}', octet_length(%(body)s), 0
    FROM generate_series(1, %(jobs)s)
    RETURNING id
), payload AS (
    INSERT INTO webhooks_payload (delivery_id, body) SELECT id, convert_to(%(body)s, 'UTF8') FROM delivery
)
INSERT INTO webhooks_job (delivery_id, handler, queue, state, publish_at, attempt, max_attempts, forgiven,
                          lost, budget_from_attempt, result, error, fingerprint)
SELECT id, %(handler)s, 'trial', 'queued', now(), 0, 5, 0, 0, 0, '', '', '' FROM delivery;
ANALYZE
"""

WAITS = "SELECT " + ", ".join(
    f"EXISTS (SELECT 1 FROM webhooks_job WHERE state = '{state}')" for state in ("queued", "running", "retrying")
)
"""Each has an index of its own."""


@contextlib.contextmanager
def servers(broker: str = "rabbitmq") -> Iterator[tuple[str, str]]:
    """Yield the URLs of a migrated database with durable commits and of a broker, both of this benchmark's own."""
    own_broker = own_redis() if broker == "redis" else own_rabbitmq()
    with own_postgres() as postgres, own_broker as started, tempfile.TemporaryDirectory() as directory:

        def migrate(url: str) -> None:
            Stack(Path(directory), url, started.url).manage("migrate", "-v0")

        yield postgres.fresh(migrate=migrate), started.url


@contextlib.contextmanager
def installation(database: str, broker: str, **environment: str) -> Iterator[Stack]:
    """A stack on an empty inbox, without any program yet; all of them are ended at the end."""
    with tempfile.TemporaryDirectory() as directory:
        if database:
            empty(database, broker)
        stack = Stack(Path(directory), database, broker, SETTINGS | environment)
        try:
            yield stack
        except BaseException:
            print(stack.logs()[-5000:], file=sys.stderr)
            raise
        finally:
            stack.stop_all()


def empty(database: str, broker: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("TRUNCATE webhooks_source RESTART IDENTITY CASCADE")
        connection.execute("DROP TABLE IF EXISTS baseline_webhook")
    if broker.startswith("redis:"):
        redis.Redis.from_url(broker).flushdb()
        return
    with kombu.Connection(broker) as connection:
        channel: Any = connection.default_channel
        for queue in (*QUEUES, "baseline"):
            channel.queue_delete(queue)


def fill(stack: Stack, body: bytes, *, jobs: int, handler: str = "timed.sleep") -> None:
    """Put so many due jobs into the inbox, each of a delivery with this body."""
    values = {"jobs": jobs, "body": body.decode(), "event": EVENT, "action": ACTION, "handler": handler}
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        for statement in FILL.split(";\n"):
            connection.execute(statement.encode(), values)


def start_worker(stack: Stack, children: int) -> int:
    """Start a worker, and return its process id once it consumes and all of its children are there."""
    stack.start("worker", "--concurrency", str(children), HOOKLINE_PROBE_PORT=str(free_port()))
    return wait_for_worker(stack, children)


def wait_for_worker(stack: Stack, children: int) -> int:
    role, process = stack.processes[-1]
    log = stack.directory / f"{role}-{len(stack.processes) - 1}.log"
    wait_until(lambda: " ready." in log.read_text(), what="the worker to be ready")
    wait_until(lambda: len(descendants_of(process.pid)) >= children, what="all children to be there")
    time.sleep(2)  # Until the last of them has set itself up; nothing says so.
    return process.pid


def has_waiting(stack: Stack) -> bool:
    """Tell whether a job of Hookline's waits or runs."""
    return any(is_there for row in stack.rows(WAITS) for is_there in row)


class System(Protocol):
    """One way to receive webhooks and to work them off."""

    def installed(self) -> "contextlib.AbstractContextManager[Stack]":
        """Yield it on an empty inbox, without any program."""

    def start_receiver(self, stack: Stack) -> None: ...

    def start_worker(self, stack: Stack, children: int) -> int:
        """Start what works off, wait until it consumes, and return the process id of the children's parent."""

    def fill(self, stack: Stack, *, jobs: int, seconds_of_work: float) -> None:
        """Put so many jobs where the worker finds them."""

    def done(self, stack: Stack) -> int: ...

    def waits(self, stack: Stack) -> bool:
        """Tell whether a job is waiting or running."""

    def results(self, stack: Stack) -> list[float]:
        """Return how many ms each delivery of `load.send_timed` waited from its sending to its handler's start."""


class Hookline:
    def __init__(self, database: str, broker: str, *, log_level: str = "INFO") -> None:
        self._urls, self._log_level = (database, broker), log_level

    @contextlib.contextmanager
    def installed(self) -> Iterator[Stack]:
        with installation(*self._urls, HOOKLINE_LOG_LEVEL=self._log_level) as stack:
            if not stack.database_url:
                stack.manage("migrate", "-v0")
            yield stack

    def start_receiver(self, stack: Stack) -> None:
        stack.start("receiver")
        stack.wait_until_ready()

    def start_worker(self, stack: Stack, children: int) -> int:
        stack.start("relay", HOOKLINE_PROBE_PORT=str(free_port()))
        return start_worker(stack, children)

    def fill(self, stack: Stack, *, jobs: int, seconds_of_work: float) -> None:
        fill(stack, body_of(seconds_of_work=seconds_of_work), jobs=jobs)

    def done(self, stack: Stack) -> int:
        return int(stack.rows("SELECT count(*) FROM webhooks_job WHERE state = 'succeeded'")[0][0])

    def waits(self, stack: Stack) -> bool:
        return has_waiting(stack)

    def results(self, stack: Stack) -> list[float]:
        found = stack.rows("SELECT result FROM webhooks_job WHERE handler = 'timed.clock' AND state = 'succeeded'")
        return [float(milliseconds) for (milliseconds,) in found]


class Baseline:
    """The Django project of `baseline/`, under gunicorn and as a plain Celery worker."""

    def __init__(self, database: str, broker: str) -> None:
        self._urls = (database, broker)

    @contextlib.contextmanager
    def installed(self) -> Iterator[Stack]:
        own = {"DJANGO_SETTINGS_MODULE": "tests.benchmarks.baseline.settings", "SECRET_KEY": "of the baseline"}
        with installation(*self._urls, **own) as stack:
            stack.run_module("django", "migrate", "--run-syncdb", "-v0")
            yield stack

    def start_receiver(self, stack: Stack) -> None:
        sizes = ["--workers", str(GUNICORN_PROCESSES), "--threads", str(GUNICORN_THREADS)]
        address = ["--bind", f"127.0.0.1:{stack.port}", "--log-level", "warning"]
        self._start(stack, "receiver", "gunicorn", "tests.benchmarks.baseline.wsgi", *address, *sizes)
        stack.wait_until_ready()

    def start_worker(self, stack: Stack, children: int) -> int:
        size = ["--concurrency", str(children), "--loglevel", "INFO"]
        self._start(stack, "baseline's worker", "celery", "-A", "tests.benchmarks.baseline.celery", "worker", *size)
        return wait_for_worker(stack, children)

    def fill(self, stack: Stack, *, jobs: int, seconds_of_work: float) -> None:
        body = stack.directory / "fill.json"
        body.write_bytes(body_of(seconds_of_work=seconds_of_work))
        stack.run_module("tests.benchmarks.baseline.fill", str(jobs), str(body))

    def done(self, stack: Stack) -> int:
        return int(stack.rows("SELECT count(*) FROM baseline_webhook WHERE state = 'done'")[0][0])

    def waits(self, stack: Stack) -> bool:
        return bool(stack.rows("SELECT EXISTS (SELECT FROM baseline_webhook WHERE state <> 'done')")[0][0])

    def results(self, stack: Stack) -> list[float]:
        return [float(waited) for (waited,) in stack.rows("SELECT waited_ms FROM baseline_webhook WHERE waited_ms > 0")]

    @staticmethod
    def _start(stack: Stack, role: str, *command: str) -> None:
        with (stack.directory / f"{role}-{len(stack.processes)}.log").open("wb") as log:
            arguments = [sys.executable, "-m", *command]
            process = subprocess.Popen(
                arguments, env=stack.settings(), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        stack.processes.append((role, process))


def by_turns(told: argparse.Namespace, measure: Callable[[str, System], None], **options: str) -> None:
    """Start the servers, and measure each system that is asked for, by its name, round after round."""
    with servers(told.broker) as (database, broker):
        available = systems(database, broker, **options)
        for name in each(told.rounds, told.systems):
            measure(name, available[name])


def systems(database: str, broker: str, *, log_level: str = "INFO") -> dict[str, System]:
    return {
        "hookline": Hookline(database, broker, log_level=log_level),
        "embedded": Hookline("", "", log_level=log_level),
        "baseline": Baseline(database, broker),
    }
