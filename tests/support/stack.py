"""Hookline's real processes on real parts, for tests: started, spoken to over HTTP, looked at through the inbox."""

import contextlib
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import kombu
import psycopg
import redis
import urllib3

from tests.support import services
from tests.support.deliveries import PATH, body_of, headers_for
from tests.support.migrated import migrate
from tests.support.processes import ROOT, environment, reserved_port, wait_until

QUEUES = ("default", "trial")
http = urllib3.PoolManager(maxsize=32, retries=False)


@dataclass(slots=True)
class Stack:
    """One installation: its database, its broker, its processes."""

    directory: Path
    database_url: str
    broker_url: str
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=reserved_port)
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    processes: list[tuple[str, "subprocess.Popen[bytes]"]] = field(default_factory=list)

    @property
    def effects(self) -> Path:
        return self.directory / "effects"

    def settings(self) -> dict[str, str]:
        own = {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "HOOKLINE_DATA_DIR": str(self.directory),
            "HOOKLINE_APPS": "tests.apps.trial",
            "HOOKLINE_PORT": str(self.port),
            **({"GITHUB_WEBHOOK_SECRETS": self.secret} if self.secret else {}),
            "TRIAL_EFFECTS": str(self.effects),
            **({"DATABASE_URL": self.database_url} if self.database_url else {}),
            **({"BROKER_URL": self.broker_url} if self.broker_url else {}),
            **self.environment,
        }
        return environment(**own)

    def manage(self, *arguments: str) -> str:
        """Run a command to its end and return what it printed."""
        return self._output_of(self._command(*arguments))

    def migrate(self) -> None:
        """Give the database its tables."""
        migrate(self.settings())

    def run_module(self, module: str, *arguments: str) -> str:
        """Run a module of ours to its end and return what it printed."""
        return self._output_of([sys.executable, "-m", module, *arguments])

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a long-running command; its output goes to a file of its own in the directory."""
        with (self.directory / f"{arguments[0]}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                self._command(*arguments),
                env=self.settings() | environment,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append((arguments[0], process))
        return process

    def start_all(self, *, concurrency: int = 4) -> None:
        """Migrate, then start a receiver, a relay and a worker, and wait until the receiver is ready.

        Without a relay, a job waits for ever whose message has begun a turn that another job took.
        """
        self.migrate()
        self.start("receiver")
        self.start("relay")
        self.start("worker", "--concurrency", str(concurrency))
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        wait_until(self.is_ready, what="the receiver to be ready")

    def is_ready(self) -> bool:
        try:
            return http.request("GET", f"http://127.0.0.1:{self.port}/readyz", timeout=2).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def stop_all(self, only: str = "") -> None:
        """End what is still running, or only processes of this kind: the whole of each session."""
        for name, process in self.processes:
            if only not in ("", name):
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def logs(self) -> str:
        return "\n".join(f"== {log.name}\n{log.read_text()}" for log in sorted(self.directory.glob("*.log")))

    def send(
        self,
        action: str,
        *,
        guid: str = "",
        secret: str = "",
        event: str = "repository_dispatch",
        headers: Mapping[str, str] | None = None,
        **client_payload: Any,
    ) -> tuple[int, dict[str, Any]]:
        """POST a signed delivery; return the status and the answer."""
        body = body_of(action=action, client_payload=client_payload)
        own = headers_for(body, secret=secret or self.secret, event=event, guid=guid or None)
        url = f"http://127.0.0.1:{self.port}{PATH}"
        response = http.request("POST", url, body=body, headers=own | dict(headers or {}), timeout=20)
        return response.status, response.json()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the inbox in SQL."""
        if self.database_url:
            with psycopg.connect(self.database_url) as connection:
                return list(connection.execute(query))
        file = self.directory / "hookline.sqlite3"
        with contextlib.closing(sqlite3.connect(file, timeout=20)) as database, database:
            return list(database.execute(query))

    def states(self) -> Counter[str]:
        return Counter(dict(self.rows("SELECT state, count(*) FROM webhooks_job GROUP BY state")))

    def is_drained(self) -> bool:
        """Whether every job is in a final state."""
        return not self.states().keys() & {"queued", "running", "retrying"}

    def wait_until_drained(self, *, seconds: float = 120.0) -> None:
        wait_until(self.is_drained, seconds=seconds, what="every job to be final")

    def marks(self, word: str = "begun") -> Counter[str]:
        """Return how often each job's handler left this mark, by idempotency key."""
        if not self.effects.exists():
            return Counter()
        lines = (line.split() for line in self.effects.read_text().splitlines())
        return Counter(line[0] for line in lines if line[2] == word)

    def running_pids(self, deliveries: Collection[int] = ()) -> list[int]:
        """Return the processes of the handlers that run, by the inbox and the marks that they have left.

        A job that the inbox calls running may only be claimed ahead. With `deliveries`, only theirs count.
        """
        if not self.effects.exists():
            return []
        lines = (line.split() for line in self.effects.read_text().splitlines())
        begun = {(key, attempt): int(pid) for key, attempt, word, pid in lines if word == "begun"}
        running = self.rows(
            "SELECT s.name, d.hook_id, d.guid, j.handler, j.attempt FROM webhooks_job j"
            " JOIN webhooks_delivery d ON d.id = j.delivery_id JOIN webhooks_source s ON s.id = d.source_id"
            " WHERE j.state = 'running'" + (f" AND d.id IN ({', '.join(map(str, deliveries))})" if deliveries else "")
        )
        keys = [
            (f"{name}:{hook}:{uuid.UUID(str(guid))}:{handler}", f"{attempt}")
            for name, hook, guid, handler, attempt in running
        ]
        return [begun[key] for key in keys if key in begun]

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "manage.py", *arguments]

    def _output_of(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self.settings(), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def running_stack(directory: Path, *, database: str, broker: str, **environment: str) -> Iterator[Stack]:
    """A stack on `database` sqlite or postgres and `broker` filesystem, rabbitmq or redis, ended at the end."""
    with contextlib.ExitStack() as cleanup:
        database_url = cleanup.enter_context(fresh_postgres()) if database == "postgres" else ""
        broker_url = "" if broker == "filesystem" else services.URLS[broker]
        empty_broker(broker)
        stack = Stack(directory, database_url, broker_url, environment)
        cleanup.callback(stack.stop_all)
        try:
            yield stack
        except BaseException:
            print(stack.logs())
            raise


@contextlib.contextmanager
def fresh_postgres() -> Iterator[str]:
    """A new database on the PostgreSQL for tests, dropped at the end."""
    name = f"hookline_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(services.POSTGRES_URL, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(services.POSTGRES_URL)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(services.POSTGRES_URL, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def empty_broker(broker: str, *also: str) -> None:
    """Lose every message in the broker for tests: of RabbitMQ, those of the usual queues and of these."""
    if broker == "redis":
        redis.Redis.from_url(services.REDIS_URL).flushdb()
    if broker == "rabbitmq":
        with kombu.Connection(services.RABBITMQ_URL) as connection:
            channel: Any = connection.default_channel
            for queue in (*QUEUES, *also):
                channel.queue_delete(queue)


@contextlib.contextmanager
def fresh_broker(broker: str) -> Iterator[str]:
    """An empty broker; on RabbitMQ a virtual host of its own, where this user can make one."""
    if broker == "rabbitmq" and services.can_make_virtual_hosts():
        with services.virtual_host() as url:
            yield url
    else:
        empty_broker(broker)
        yield services.URLS.get(broker, "")
