"""What real workers say of themselves in their rows, and what they do when a person asks: stop, or show a stack."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import repeated
from tests.support.forwarding import forwarding
from tests.support.processes import wait_until
from tests.support.stack import Stack, running_stack

KINDS = [
    pytest.param(("sqlite", "filesystem"), id="embedded"),
    repeated(("postgres", "rabbitmq"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq], id="servers"),
]


@pytest.fixture(scope="module", params=KINDS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    database, broker = request.param
    directory = tmp_path_factory.mktemp("reports")
    with running_stack(directory, database=database, broker=broker, HOOKLINE_RELEASE="2026.11") as stack:
        stack.start_all(concurrency=1)
        stack.stop_all(only="worker")
        yield stack


@pytest.fixture
def worker(stack: Stack, request: pytest.FixtureRequest) -> Iterator["Reporting"]:
    name = f"{request.node.name.partition('[')[0][-40:]}@test"
    reporting = Reporting(stack, name, stack.start("worker", "--concurrency", "2", "--name", name))
    reporting.wait_for("ready")
    yield reporting
    stack.stop_all(only="worker")


class Reporting:
    """A worker and its row."""

    def __init__(self, stack: Stack, name: str, process: "subprocess.Popen[bytes]") -> None:
        self.stack, self.name, self.process = stack, name, process

    def row(self) -> dict[str, Any]:
        columns = ("release", "queues", "state", "slots", "busy", "memory_bytes", "running", "reported_at")
        found = self.stack.rows(f"SELECT {', '.join(columns)} FROM webhooks_workerreport WHERE worker = '{self.name}'")
        row = dict(zip(columns, found[0], strict=True)) if found else {"state": None}
        return {
            key: json.loads(value) if isinstance(value, str) and value[:1] == "[" else value
            for key, value in row.items()
        }

    def wait_for(self, state: str) -> dict[str, Any]:
        wait_until(lambda: self.row()["state"] == state, what=f"the worker to be {state}")
        return self.row()

    def run(self, action: str, **payload: Any) -> dict[str, Any]:
        """Have a job run, and return what the worker's row says of it."""
        assert self.stack.send(action, **payload)[0] == 202
        wait_until(lambda: self.row()["running"], what="the row to show the run")
        return dict(self.row()["running"][0])

    def ask(self, kind: str, *, job: int | None = None, attempt: int | None = None) -> int:
        """Ask the worker as the console does; return the request's number."""
        number = 1 + int(self.stack.rows("SELECT coalesce(max(id), 0) FROM webhooks_workerrequest")[0][0])
        write(
            self.stack,
            "INSERT INTO webhooks_workerrequest (id, worker, kind, job_id, attempt, asked_by, answer)"
            f" VALUES ({number}, '{self.name}', '{kind}', {job or 'NULL'}, {attempt or 'NULL'}, 'ana', '')",
        )
        return number

    def answer(self, number: int) -> str:
        query = f"SELECT answer FROM webhooks_workerrequest WHERE id = {number} AND answered_at IS NOT NULL"
        rows = wait_until(lambda: self.stack.rows(query), what="the worker to answer")
        return str(rows[0][0])


def write(stack: Stack, statement: str) -> None:
    stack.rows(f"{statement} RETURNING 1")


def stop(worker: Reporting) -> None:
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(60) == 0


def test_a_worker_reports_what_it_is_and_what_it_runs(worker: Reporting) -> None:
    run = worker.run("watch")
    row = worker.row()
    assert (row["release"], row["slots"], row["busy"]) == ("2026.11", 2, 1)
    assert sorted(row["queues"]) == ["default", "forwarding", "trial"]
    [(job, attempt)] = worker.stack.rows("SELECT id, attempt FROM webhooks_job WHERE state = 'running'")
    assert (run["job"], run["attempt"]) == (job, attempt)
    assert run["handler"] == "trial.watch"
    assert run["pid"] in worker.stack.running_pids()
    assert row["memory_bytes"] > 20_000_000
    stop(worker)


def test_it_is_draining_until_its_last_job_has_ended_and_then_stopped(worker: Reporting) -> None:
    worker.run("watch", seconds=3)
    worker.process.send_signal(signal.SIGTERM)
    draining = worker.wait_for("draining")
    assert draining["busy"] == 1
    assert worker.process.wait(60) == 0
    stopped = worker.row()
    assert (stopped["state"], stopped["busy"], stopped["memory_bytes"]) == ("stopped", 0, None)


def test_a_worker_that_was_killed_never_says_that_it_has_stopped(worker: Reporting) -> None:
    worker.process.kill()
    worker.process.wait(30)
    # Its dispatcher has ended too once nobody leads the worker's processes: it has said its last.
    wait_until(lambda: not members(worker.process.pid), what="the dispatcher to end")
    assert worker.row()["state"] == "ready"


def members(parent: int) -> list[str]:
    """Return the processes of the killed worker's session that are left."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == parent and fields[0] != "Z":
            found.append(entry.parent.name)
    return found


def test_asked_to_stop_it_ends_as_after_term(worker: Reporting) -> None:
    worker.run("watch", seconds=2)
    number = worker.ask("stop")
    assert worker.answer(number) == "The worker stops after its current jobs."
    assert worker.process.wait(60) == 0
    assert worker.row()["state"] == "stopped"
    assert worker.stack.states()["running"] == 0
    assert "worker stops: it was asked to  asked_by=ana" in worker.stack.logs()


@pytest.mark.parametrize(
    ("action", "line"), [("watch", "time.sleep(0.05)"), ("in-c", "ctypes.PyDLL(None).sleep(left)")]
)
def test_the_stack_of_a_running_handler_is_shown_and_its_run_goes_on(worker: Reporting, action: str, line: str) -> None:
    run = worker.run(action, seconds=20)
    answer = worker.answer(worker.ask("stack", job=run["job"], attempt=run["attempt"]))
    source = Path(__file__).parents[1] / "apps" / "trial" / "handlers.py"
    number = 1 + next(n for n, text in enumerate(source.read_text().splitlines()) if line in text)
    handler = "watch" if action == "watch" else "stay_in_c"
    frames = answer.splitlines()
    if action == "in-c":  # Whatever moment it is, the other one may be between two sleeps.
        assert frames == [f'File "{source}", line {number} in stay_in_c']
    assert frames[-1].startswith(f'File "{source}", line ')
    assert frames[-1].endswith(f" in {handler}")
    assert worker.answer(worker.ask("stack", job=run["job"], attempt=run["attempt"] + 1)) == (
        "This attempt does not run in the worker: it has ended, or has not begun yet."
    )
    if action == "watch":
        stop(worker)
    wait_until(worker.stack.is_drained, what="the job to end")
    [(state,)] = worker.stack.rows(f"SELECT state FROM webhooks_job WHERE id = {run['job']}")
    assert state == "succeeded"


def test_an_old_request_is_left_alone(worker: Reporting) -> None:
    write(
        worker.stack,
        "INSERT INTO webhooks_workerrequest (id, worker, kind, asked_by, answer, asked_at)"
        f" VALUES (9000, '{worker.name}', 'stop', 'ana', '', '2020-01-01 00:00:00+00:00')",
    )
    run = worker.run("watch")
    worker.answer(worker.ask("stack", job=run["job"], attempt=run["attempt"]))
    assert worker.process.poll() is None
    assert worker.stack.rows("SELECT answered_at FROM webhooks_workerrequest WHERE id = 9000") == [(None,)]
    stop(worker)


@pytest.mark.postgres
@pytest.mark.parametrize("trouble", ["cut", "hush"])
def test_a_worker_whose_database_goes_away_runs_on_and_stops_with_status_0(tmp_path: Path, trouble: str) -> None:
    with running_stack(tmp_path, database="postgres", broker="filesystem") as stack:
        stack.migrate()
        with forwarding(stack.database_url) as line:
            worker = Reporting(
                stack,
                "alone@test",
                stack.start("worker", "--concurrency", "1", "--name", "alone@test", DATABASE_URL=line.url),
            )
            worker.wait_for("ready")
            getattr(line, trouble)()
            wait_until(lambda: "inbox unavailable" in stack.logs(), what="the outage to be noticed")
            line.mend()
            reported_at = worker.row()["reported_at"]
            wait_until(lambda: worker.row()["reported_at"] > reported_at, what="a report after the outage")
            getattr(line, trouble)()
            stop(worker)
            assert worker.row()["state"] == "ready"
