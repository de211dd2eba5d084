"""The processes of one installation under test: who runs, who was ended on purpose, and who ended by itself.

Whatever ends is started again a second later, as Kubernetes does, unless the case holds it. An end that no case brought
about is counted.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.faults.process_tree import children_of, die_with_parent, session_of, signal_all, threads_of
from tests.faults.servers import Broker, OwnPostgres
from tests.faults.team.apps import DIE_AT_OFFER, LOST_BACKOFF
from tests.support.processes import ROOT, wait_until
from tests.support.stack import Stack

RESTART_SECONDS = 1.0
RELAYS = 2
WORKERS = 2
CHILDREN = 6
READY = {"worker": " ready.", "relay": "relay started"}
"""What a process has logged once it does its work."""
SETTINGS = {
    "HOOKLINE_APPS": "tests.faults.team",
    "HOOKLINE_LEASE_MARGIN_SECONDS": "2",
    "HOOKLINE_WORKER_CONCURRENCY": str(CHILDREN),
    LOST_BACKOFF: "0.5",
}


@dataclass(slots=True)
class Member:
    """One place in the fleet, and the process that fills it."""

    role: str
    number: int
    log: Path
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]"
    is_held: bool = False
    """Whether it stays down until the case starts it again."""
    was_ended: bool = False
    """Whether the case has ended the process that ran here last."""
    sessions: list[int] = field(default_factory=list)
    """Each process that has run here, which led a session of its own."""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def dispatcher(self) -> int:
        """A worker's dispatcher, the only child of its parent that has threads; 0 while there is none."""
        return next((pid for pid in children_of(self.pid) if threads_of(pid) > 1), 0)

    @property
    def children(self) -> list[int]:
        """A worker's children, which run the handlers."""
        return [pid for pid in children_of(self.pid) if threads_of(pid) == 1]

    @property
    def claims(self) -> str:
        """The SQL condition of the jobs that this worker has claimed and not recorded."""
        return f"state = 'running' AND worker LIKE 'worker-{self.pid}-%'"


class Fleet(Stack):
    """A Stack of one receiver, some relays and workers, watched over by a thread that starts again what ends."""

    def __init__(self, directory: Path, database_url: str, broker_url: str, **environment: str) -> None:
        data = directory / "data"
        data.mkdir(mode=0o700)
        super().__init__(data, database_url, broker_url, {**SETTINGS, **environment})
        self.logs_directory = directory / "logs"
        self.logs_directory.mkdir()
        self._effects = directory / "effects"
        self._effects.touch()
        self.members: list[Member] = []
        self.restarts: Counter[str] = Counter()
        """How often a process of each role ended by itself, or by a fault that was not meant for it."""
        self.cleanup = contextlib.ExitStack()
        """What is undone once every process has ended."""
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._keep, name="supervisor", daemon=True)

    @property
    def effects(self) -> Path:
        return self._effects

    @property
    def workers(self) -> list[Member]:
        return self.of("worker")

    @property
    def receiver(self) -> Member:
        return self.of("receiver")[0]

    def of(self, role: str) -> list[Member]:
        return [member for member in self.members if member.role == role]

    def open(
        self,
        environments: Mapping[str, dict[str, str]] | None = None,
        *,
        relays: int = RELAYS,
        workers: int = WORKERS,
    ) -> None:
        """Start everything and wait until it does its work; `environments` are further settings by role and number."""
        if not self.database_url:
            self.manage("migrate", "-v0")
        for role, count in (("receiver", 1), ("relay", relays), ("worker", workers)):
            for number in range(count):
                self.add(role, number, (environments or {}).get(f"{role}{number}", {}))
        self._watch.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        super().wait_until_ready()
        for member in self.of("relay") + self.workers:
            wait_until(
                partial(is_ready, member), what=f"the {member.role} to be ready\n{member.log.read_text()[-2000:]}"
            )

    def at_work(self) -> dict[int, str]:
        """Return the processes that are in a run by the handlers' marks, and the key of what each runs."""
        last: dict[int, tuple[str, str]] = {}
        for line in self.effects.read_text().splitlines():
            key, _, word, pid = line.split()
            last[int(pid)] = key, word
        return {pid: key for pid, (key, word) in last.items() if word == "begun"}

    def kill(self, member: Member) -> None:
        """SIGKILL a member's main process and nothing else."""
        with self._lock:
            member.was_ended = True
            member.process.kill()
            member.process.wait()

    def hold(self, member: Member) -> None:
        """SIGKILL a member's main process and leave its place empty until `release`."""
        with self._lock:
            self.expect_end(member)
            self.kill(member)

    def expect_end(self, member: Member) -> None:
        """Let a member's process end without being missed, and leave its place empty until `release`."""
        with self._lock:
            member.is_held = member.was_ended = True

    def release(self, member: Member) -> None:
        with self._lock:
            member.is_held = False

    def close(self) -> None:
        """End every process of every session that was started, whatever state it is in."""
        self._closing.set()
        if self._watch.is_alive():
            self._watch.join()
        for member in self.members:
            for session in member.sessions:
                signal_all([session, *session_of(session)], signal.SIGKILL)
            member.process.wait()
        self.cleanup.close()

    def left_behind(self) -> list[int]:
        """Return the processes that outlived the main process that had started them."""
        return [
            pid
            for member in self.members
            for session in member.sessions
            if session != member.pid or member.process.poll() is not None
            for pid in session_of(session)
        ]

    def logs(self) -> str:
        return "\n".join(f"== {log.name}\n{log.read_text()}" for log in sorted(self.logs_directory.glob("*.log")))

    def add(self, role: str, number: int, environment: dict[str, str]) -> Member:
        """Start one more process, and do not wait for it."""
        log = self.logs_directory / f"{role}-{number}.log"
        environment = dict(environment)  # A fault point is taken out of it once it has been hit.
        member = Member(role, number, log, environment, self._launch(role, log, environment))
        member.sessions.append(member.pid)
        with self._lock:
            self.members.append(member)
        return member

    def _launch(self, role: str, log: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        # Whoever measures the tests' coverage would slow down what is measured here.
        inherited = {name: value for name, value in self.settings().items() if not name.startswith("COVERAGE_")}
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "manage.py", role],
                env=inherited | environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  One system call.
            )

    def _keep(self) -> None:
        ended_at: dict[int, float] = {}
        while not self._closing.wait(0.1):
            with self._lock:
                for member in self.members:
                    if member.process.poll() is None or member.is_held:
                        continue
                    now = time.monotonic()
                    if now - ended_at.setdefault(member.pid, now) >= RESTART_SECONDS:
                        self._restart(member)

    def _restart(self, member: Member) -> None:
        if not member.was_ended:
            self.restarts[member.role] += 1
            with member.log.open("a") as log:
                log.write(f"--- ended by itself with status {member.process.returncode}\n")
        member.was_ended = False
        member.environment.pop(DIE_AT_OFFER, None)
        member.process = self._launch(member.role, member.log, member.environment)
        member.sessions.append(member.pid)


def is_ready(member: Member) -> bool:
    return READY[member.role] in member.log.read_text()


@contextlib.contextmanager
def running_fleet(postgres: OwnPostgres, broker: Broker, **environment: str) -> Iterator[Fleet]:
    """A fleet on a database of its own and an emptied broker, ended at the end. No URL stands for the embedded pair."""
    with tempfile.TemporaryDirectory(prefix="hookline-fleet-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        url = postgres.fresh(migrate=migrate) if broker.url else ""
        broker.reset()
        fleet = Fleet(directory, url, broker.url, **environment)
        try:
            yield fleet
        finally:
            fleet.close()
            if kept := os.environ.get("FAULTS_LOGS"):
                with Path(kept).open("a") as log:
                    log.write(fleet.logs())


def migrate(database_url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="hookline-fleet-") as name:
        Stack(Path(name), database_url, "").manage("migrate", "-v0")
