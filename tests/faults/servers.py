"""A PostgreSQL and a Redis of the suite's own, in temporary directories, that may be treated badly."""

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import psycopg
import redis

from tests.faults.process_tree import descendants_of, die_with_parent, signal_all
from tests.support.processes import wait_until

_PATIENCE = 60.0


class Broker(Protocol):
    """What a case may do to a broker."""

    name: str

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""

    def empty(self) -> None:
        """Lose every message; the workers' queues themselves stay where the broker has such."""

    def reset(self) -> None:
        """Make it as new, between two cases."""

    def cut(self) -> None:
        """Close every connection to it."""


class Embedded:
    """The broker that is a folder, and so nothing to treat badly by itself; the database beside it is SQLite."""

    name = "filesystem"
    url = ""

    def depth(self, queue: str) -> int:
        raise NotImplementedError(queue)

    def start(self) -> None:
        """Do nothing, as do all of these: every fleet has a folder of its own."""

    stop = freeze = thaw = empty = reset = cut = start


class OwnProcess:
    """A server's main process: started in a session of its own, frozen with all its children, always ended."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def launch(self, *command: str, user: str | None = None, environment: dict[str, str] | None = None) -> None:
        with (self._directory / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  One system call.
            )

    def end(self, number: int = signal.SIGKILL) -> None:
        """Signal the main process and wait for its end; whatever it leaves behind is killed."""
        if self._process is None or self._process.poll() is not None:
            return
        left = descendants_of(self.pid)
        signal_all([self.pid, *left], signal.SIGCONT)
        self._process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE / 2)
        signal_all([self.pid, *left], signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """Stop the main process first, so that it starts no child that stays awake."""
        signal_all([self.pid], signal.SIGSTOP)
        signal_all(descendants_of(self.pid), signal.SIGSTOP)

    def thaw(self) -> None:
        signal_all([*descendants_of(self.pid), self.pid], signal.SIGCONT)


class OwnPostgres:
    """A cluster with durable commits. `fresh` hands out databases, all of them copies of one that is migrated.

    It listens on `address`, where `clients`, a range of addresses, are let in beside those of this machine.
    """

    def __init__(self, directory: Path, *, address: str = "127.0.0.1", clients: str = "") -> None:
        self._directory, self._address, self._clients = directory, address, clients
        self._data = directory / "data"
        self._port = stable_port()
        self._own = OwnProcess(directory)
        self.freeze, self.thaw = self._own.freeze, self._own.thaw
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None

    def create(self) -> None:
        self._data.mkdir(mode=0o700)
        if self._user:
            owner = pwd.getpwnam(self._user)
            for path in (self._directory, self._data):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        command = [
            postgres_program("initdb"),
            "-D",
            str(self._data),
            "-A",
            "trust",
            "-U",
            "postgres",
            "-N",
            "-E",
            "UTF8",
        ]
        subprocess.run(
            [*command, "--locale=C.UTF-8"], user=self._user, group=self._user, cwd="/", check=True, capture_output=True
        )
        if self._clients:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self._clients} trust\n")

    def url(self, database: str) -> str:
        return f"postgres://postgres@{self._address}:{self._port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._own.launch(
            *(postgres_program("postgres"), "-D", str(self._data), "-p", str(self._port)),
            *(
                "-h",
                self._address,
                "-k",
                "",
                "-c",
                "max_connections=200",
                "-c",
                "fsync=on",
                "-c",
                "synchronous_commit=on",
            ),
            user=self._user,
        )
        wait_until(self._answers, seconds=_PATIENCE, what="PostgreSQL to answer")

    def stop(self) -> None:
        """Stop as `pg_ctl stop -m fast` does: transactions are rolled back, connections closed."""
        self._own.end(signal.SIGINT)

    def fresh(self, *, migrate: Callable[[str], None]) -> str:
        """Return the URL of a new database; `migrate` is called with the URL of the one it copies, once."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'migrated'").fetchall():
                connection.execute("CREATE DATABASE migrated")
                migrate(self.url("migrated"))
            name = f"hookline_{uuid.uuid4().hex[:12]}"
            connection.execute(f"CREATE DATABASE {name} TEMPLATE migrated".encode())
        return self.url(name)

    def demote(self, url: str) -> None:
        """Make a database read-only, as that of a standby is, and end its connections, as a failover does."""
        self._set_read_only(url, "SET default_transaction_read_only = on")
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            name = url.rpartition("/")[2]
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    def promote(self, url: str) -> None:
        """Undo that for new connections; those that are open stay as they are."""
        self._set_read_only(url, "RESET default_transaction_read_only")

    def _set_read_only(self, url: str, change: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {url.rpartition('/')[2]} {change}".encode())

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


class OwnRedis:
    """A Redis that keeps nothing: what it held is lost with it."""

    name = "redis"

    def __init__(self, directory: Path, *, options: Sequence[str] = ()) -> None:
        self._port = stable_port()
        self._own = OwnProcess(directory)
        self._options = ("--save", "", "--appendonly", "no", *options)
        self.freeze, self.thaw = self._own.freeze, self._own.thaw

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program
        self._own.launch(program, "--port", str(self._port), "--bind", "127.0.0.1", *self._options)
        wait_until(self._answers, seconds=_PATIENCE, what="Redis to answer")

    def stop(self) -> None:
        self._own.end(signal.SIGTERM)

    def depth(self, queue: str) -> int:
        with self._client() as client:
            return int(client.llen(queue))

    def empty(self) -> None:
        with self._client() as client:
            client.flushall()

    reset = empty

    def cut(self) -> None:
        with self._client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")

    def _client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


def stable_port() -> int:
    """Return a free port that no outgoing connection takes while its server is away: one below the ephemeral range."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def postgres_program(name: str) -> str:
    """Return the path of a program of PostgreSQL's server, or "" where it is not installed. Debian keeps them apart."""
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(places[-1]) if places else "")


@contextlib.contextmanager
def own_directory() -> Iterator[Path]:
    """A temporary directory that a server under another user can reach, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="hookline-faults-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def own_postgres(*, address: str = "127.0.0.1", clients: str = "") -> Iterator[OwnPostgres]:
    with own_directory() as directory:
        server = OwnPostgres(directory, address=address, clients=clients)
        server.create()
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def own_redis(*, options: Sequence[str] = ()) -> Iterator[OwnRedis]:
    with own_directory() as directory:
        server = OwnRedis(directory, options=options)
        try:
            server.start()
            yield server
        finally:
            server.stop()
