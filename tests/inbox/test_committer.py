"""What the receiver says while its database is down, silent, or was restarted: 503 in time, and 202 again by itself."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, InterfaceError, OperationalError, connection

from tests.support.processes import free_port, manage, wait_until
from tests.support.receiver_process import THREADS, Receiver, Reply, receiver_in, request
from tests.support.receiving import close
from webhooks.inbox.committer import Committer, InboxUnavailableError

PROMISED_SECONDS = 3.0
database = pytest.mark.django_db(transaction=True)


# --- The gate ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def committing(*, threads: int = 4, wait_seconds: float = 1.5, retry_seconds: float = 0.2) -> Iterator[Committer]:
    committer = Committer(threads=threads, wait_seconds=wait_seconds, retry_seconds=retry_seconds)
    try:
        yield committer
    finally:
        close(committer)


class Work:
    """A transaction that counts its runs and fails as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.runs = 0

    def __call__(self) -> int:
        self.runs += 1
        if self.error is not None:
            raise self.error
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return int(cursor.fetchone()[0])


def is_refused(committer: Committer, work: Callable[[], Any]) -> bool:
    try:
        committer.run(work)
    except InboxUnavailableError:
        return True
    return False


@database
def test_work_runs_and_its_result_comes_back() -> None:
    with committing() as committer:
        assert committer.is_available
        assert [committer.run(Work()) for _ in range(10)] == [1] * 10
        assert committer.is_available


@database
def test_an_error_of_ours_is_raised_as_it_is_and_closes_nothing() -> None:
    with committing() as committer:
        with pytest.raises(ZeroDivisionError):
            committer.run(Work(ZeroDivisionError()))
        assert committer.is_available


@database
@pytest.mark.parametrize("error", [OperationalError("cut off"), InterfaceError("closed")])
def test_after_a_failure_others_are_refused_at_once_and_unasked(error: Exception) -> None:
    with committing(retry_seconds=60) as committer:
        assert is_refused(committer, Work(error))
        assert not committer.is_available
        unasked = Work()
        assert all(is_refused(committer, unasked) for _ in range(20))
        assert unasked.runs == 0


@database
def test_a_transaction_that_the_database_will_not_take_does_not_refuse_the_next() -> None:
    with committing(retry_seconds=60) as committer:
        assert is_refused(committer, Work(DataError("integer out of range")))
        assert committer.run(Work()) == 1


@database
def test_after_a_moment_one_at_a_time_tries_again() -> None:
    with committing() as committer:
        assert is_refused(committer, Work(OperationalError("down")))
        entered, let_go = threading.Event(), threading.Event()

        def hold() -> str:
            entered.set()
            let_go.wait(10)
            return "committed"

        with ThreadPoolExecutor(1) as senders:
            trial = senders.submit(lambda: wait_until(lambda: attempt(committer, hold), what="one tries again"))
            assert entered.wait(10)
            meanwhile = Work()
            assert all(is_refused(committer, meanwhile) for _ in range(20))
            let_go.set()
            assert trial.result(10) == "committed"
        assert meanwhile.runs == 0
        assert committer.is_available
        assert committer.run(Work()) == 1


def attempt(committer: Committer, work: Callable[[], Any]) -> Any:
    with contextlib.suppress(InboxUnavailableError):
        return committer.run(work)


@database
def test_while_it_stays_down_each_try_closes_the_gate_again() -> None:
    with committing(retry_seconds=0.05) as committer:
        failing, unasked = Work(OperationalError("down")), Work()
        for tries in range(1, 4):
            wait_until(lambda: is_refused(committer, failing) and failing.runs >= tries, what="another try")  # noqa: B023
            assert is_refused(committer, unasked)
        assert not committer.is_available
        wait_until(lambda: not is_refused(committer, unasked), what="it is let through")
        assert committer.is_available


@database
def test_a_wait_is_bounded_whatever_the_work_does() -> None:
    let_go = threading.Event()
    with committing(threads=1, wait_seconds=0.1) as committer:
        began = time.monotonic()
        assert is_refused(committer, lambda: let_go.wait(10))
        # The only thread is held: this one is taken back before it starts.
        never = Work()
        wait_until(lambda: is_refused(committer, never), what="refused")
        assert time.monotonic() - began < 5
        let_go.set()
        wait_until(lambda: not is_refused(committer, Work()), what="it is let through again")
        assert never.runs == 0


@database
def test_one_slow_transaction_is_given_up_alone_while_others_are_committed() -> None:
    let_go = threading.Event()
    with committing(threads=2, wait_seconds=0.5, retry_seconds=60) as committer, ThreadPoolExecutor(1) as senders:
        slow = senders.submit(is_refused, committer, lambda: let_go.wait(10))
        while not slow.done():
            assert committer.run(Work()) == 1
        assert slow.result()
        assert committer.is_available
        assert committer.run(Work()) == 1
        let_go.set()


@database
def test_waiting_for_a_turn_is_no_fault_of_a_database_that_commits() -> None:
    with committing(threads=1, wait_seconds=0.5, retry_seconds=60) as committer, ThreadPoolExecutor(8) as senders:
        # The last waits for two seconds in all.
        refused = list(senders.map(lambda _: is_refused(committer, lambda: time.sleep(0.25)), range(8)))
        assert refused == [False] * 8


@database
def test_what_stores_much_may_take_longer() -> None:
    with committing(threads=1, wait_seconds=0.3, retry_seconds=0.01) as committer:
        assert committer.run(lambda: time.sleep(0.6), stored_bytes=100_000_000) is None
        assert is_refused(committer, lambda: time.sleep(0.6))


@database
def test_a_connection_that_was_open_before_gets_a_second_try_on_a_new_one() -> None:
    with committing(threads=1) as committer:
        failing = Work(OperationalError("server closed the connection unexpectedly"))
        assert is_refused(committer, failing)
        assert failing.runs == 1
        wait_until(lambda: not is_refused(committer, Work()), what="it is let through")
        assert is_refused(committer, failing)
        assert failing.runs == 3


@database
@pytest.mark.both_databases
def test_a_silent_transaction_gives_its_thread_back() -> None:
    def sleep() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(600)")

    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no socket to shut")
    with committing(threads=1, wait_seconds=0.5) as committer:
        for _ in range(3):
            wait_until(lambda: not is_refused(committer, Work()), what="the thread is free")
            assert is_refused(committer, sleep)


@database
@pytest.mark.both_databases
def test_connections_that_were_cut_while_idle_are_noticed_by_nobody() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no socket to cut")
    with committing(threads=2) as committer:
        for _ in range(3):
            with ThreadPoolExecutor(8) as senders:
                assert list(senders.map(lambda _: committer.run(Work()), range(8))) == [1] * 8
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        assert committer.is_available


# --- A real receiver on a PostgreSQL of its own -----------------------------------------------------------------------


def binaries() -> Path | None:
    """Return the folder with PostgreSQL's programs, or None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    program = shutil.which("pg_ctl")
    return Path(program).resolve().parent if program else None


@dataclass
class Cluster:
    """A PostgreSQL that a test may stop, restart and freeze. It does not run as root, whoever runs the test."""

    directory: Path
    programs: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def _pid_file(self) -> Path:
        return self.directory / "data" / "postmaster.pid"

    def create(self) -> None:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-o", options, "-l", str(self.directory / "log"))

    def restart(self) -> None:
        self._run("pg_ctl", "restart", "-w", "-m", "fast", "-l", str(self.directory / "log"))

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def is_running(self) -> bool:
        return self._pid_file.exists()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Freeze every process: the kernel still takes connections and bytes, and nobody answers."""
        frozen: list[int] = []
        postmaster = int(self._pid_file.read_text().split()[0])
        try:
            os.kill(postmaster, signal.SIGSTOP)
            frozen.append(postmaster)
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
            for pid in map(int, children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    frozen.append(pid)
            yield
        finally:
            for pid in reversed(frozen):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _run(self, program: str, *arguments: str) -> None:
        as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_owner, str(self.programs / program), "-D", str(self.directory / "data"), *arguments],
            cwd=self.directory,
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's programs are not installed")
    # Not below pytest's folder, which only its owner may enter.
    directory = Path(tempfile.mkdtemp(prefix="hookline-postgres-"))
    directory.chmod(0o755)
    made = Cluster(directory, programs, free_port())
    try:
        made.create()
        yield made
    finally:
        if made.is_running():
            made.stop()
        shutil.rmtree(directory)


@contextlib.contextmanager
def receiver_on(url: str, directory: Path) -> Iterator[Receiver]:
    """Run a receiver on this database, whatever its state."""
    with receiver_in(directory, is_migrated=False, DATABASE_URL=url) as receiver:
        yield receiver
        receiver.close()
        assert receiver.stop() == 0
        assert "Traceback" not in receiver.log.read_text()


def migrate(url: str, directory: Path) -> None:
    done = manage("migrate", "-v0", DATABASE_URL=url, HOOKLINE_DATA_DIR=directory)
    assert done.returncode == 0, done.stderr


def deliver(receiver: Receiver) -> tuple[Reply, float]:
    """Send a delivery; return the answer and the seconds it took."""
    began = time.monotonic()
    reply = receiver.ask(request())
    return reply, time.monotonic() - began


def hold_unavailable(reply: Reply, seconds: float) -> None:
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert json.loads(reply.body) == {"error": "The inbox is not available; try again later."}
    assert seconds < PROMISED_SECONDS


def hold_ready_without_database(receiver: Receiver) -> None:
    """The probes tell of the database and do not depend on it."""
    assert receiver.ask(request("GET", "/livez", b"")).status == 200
    ready = receiver.ask(request("GET", "/readyz", b""))
    assert (ready.status, b'"database": "unavailable"' in ready.body) == (200, True)


def is_accepted(receiver: Receiver) -> bool:
    return deliver(receiver)[0].status == 202


def test_a_database_that_is_down_at_the_start_is_503_in_time(tmp_path: Path) -> None:
    with receiver_on(f"postgres://postgres@127.0.0.1:{free_port()}/postgres", tmp_path) as receiver:
        for _ in range(5):
            hold_unavailable(*deliver(receiver))
        hold_ready_without_database(receiver)


@pytest.mark.slow
def test_a_database_that_comes_up_after_the_receiver_is_found_by_itself(cluster: Cluster, tmp_path: Path) -> None:
    with receiver_on(cluster.url, tmp_path) as receiver:
        hold_unavailable(*deliver(receiver))
        cluster.start()
        migrate(cluster.url, tmp_path)
        wait_until(lambda: is_accepted(receiver), what="a delivery is accepted")
        assert receiver.ask(request("GET", "/readyz", b"")).status == 200


@pytest.fixture
def up(cluster: Cluster, tmp_path: Path) -> Cluster:
    if not cluster.is_running():
        cluster.start()
    migrate(cluster.url, tmp_path)
    return cluster


def test_a_database_that_falls_silent_is_503_in_time_and_then_at_once(up: Cluster, tmp_path: Path) -> None:
    with receiver_on(up.url, tmp_path) as receiver, ThreadPoolExecutor(3 * THREADS) as senders:
        assert all(senders.map(lambda _: is_accepted(receiver), range(3 * THREADS)))
        with up.silent():
            for answer in list(senders.map(lambda _: deliver(receiver), range(3 * THREADS))):
                hold_unavailable(*answer)
            later = list(senders.map(lambda _: deliver(receiver), range(3 * THREADS)))
            for answer in later:
                hold_unavailable(*answer)
            # One of them may be the one that tries again.
            assert sorted(seconds for _, seconds in later)[-2] < 1.0
            hold_ready_without_database(receiver)
        wait_until(lambda: is_accepted(receiver), what="a delivery is accepted")
        assert all(senders.map(lambda _: is_accepted(receiver), range(3 * THREADS)))


@pytest.mark.slow
def test_a_silent_database_at_the_start_is_503_in_time(up: Cluster, tmp_path: Path) -> None:
    with up.silent(), receiver_on(up.url, tmp_path) as receiver:
        hold_unavailable(*deliver(receiver))
        hold_unavailable(*deliver(receiver))


@pytest.mark.slow
def test_a_database_that_was_restarted_costs_no_delivery(up: Cluster, tmp_path: Path) -> None:
    with receiver_on(up.url, tmp_path) as receiver, ThreadPoolExecutor(3 * THREADS) as senders:
        assert all(senders.map(lambda _: is_accepted(receiver), range(3 * THREADS)))
        up.restart()
        assert [deliver(receiver)[0].status for _ in range(2 * THREADS)] == [202] * (2 * THREADS)


@pytest.mark.slow
def test_a_restart_under_load_is_202_or_503_and_nothing_else(up: Cluster, tmp_path: Path) -> None:
    with receiver_on(up.url, tmp_path) as receiver, ThreadPoolExecutor(THREADS) as senders:
        restart = senders.submit(up.restart)
        answers = []
        while not restart.done():
            answers += list(senders.map(lambda _: deliver(receiver), range(THREADS - 1)))
        restart.result()
        assert {reply.status for reply, _ in answers} <= {202, 503}
        assert max(seconds for _, seconds in answers) < PROMISED_SECONDS
        wait_until(lambda: is_accepted(receiver), what="a delivery is accepted")
