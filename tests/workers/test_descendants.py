"""The processes of handlers, in real workers: handlers may have them, and they end with their run, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.brokers import FOR_PROGRAMS, repeated
from tests.support.processes import ROOT, run_module, unmeasured, wait_until
from tests.support.stack import Stack, running_stack
from workers.processes import orphans
from workers.processes.descendants import children_of

GRACE_SECONDS = 6.0
SETTINGS = {
    "HOOKLINE_APPS": "tests.apps.spawning",
    "HOOKLINE_GRACE_SECONDS": str(GRACE_SECONDS),
    "HOOKLINE_LEASE_MARGIN_SECONDS": "8",
}


@pytest.fixture(scope="module", params=FOR_PROGRAMS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A receiver, a relay and a worker with one child, so that each run is where the last one was."""
    directory = tmp_path_factory.mktemp("descendants")
    with (
        unmeasured(),
        running_stack(directory, database="sqlite", broker=request.param, **SETTINGS) as stack,
    ):
        stack.migrate()
        stack.start("receiver")
        stack.start("relay")
        start_worker(stack)
        stack.wait_until_ready()
        yield stack


def start_worker(stack: Stack) -> None:
    stack.start("worker", "--concurrency", "1")
    log = stack.directory / f"worker-{len(stack.processes) - 1}.log"
    wait_until(lambda: " ready." in log.read_text(), what="the worker to consume")


def send(stack: Stack, action: str, **payload: Any) -> str:
    """Send a delivery and return the SQL that selects its job."""
    status, answer = stack.send(action, **payload)
    assert (status, answer["jobs"]) == (202, 1)
    return f"FROM webhooks_job WHERE delivery_id = {answer['delivery']}"


def job_after(stack: Stack, action: str, **payload: Any) -> tuple[Any, ...]:
    """Send a delivery, wait until its job is final, and return its state, its last words and its runs' outcomes."""
    of_job = send(stack, action, **payload)
    wait_until(lambda: stack.rows(f"SELECT 1 {of_job} AND finished_at IS NOT NULL"), what=f"the end of {action}")
    ((job, *told),) = stack.rows(f"SELECT id, state, result {of_job}")
    outcomes = stack.rows(f"SELECT outcome FROM webhooks_attempt WHERE job_id = {job} ORDER BY number")
    return (*told, [outcome for (outcome,) in outcomes])


def marks(stack: Stack, word: str) -> list[int]:
    """Return the process ids of all marks with this word."""
    lines = [line.split() for line in stack.effects.read_text().splitlines()] if stack.effects.exists() else []
    return [int(pid) for _, _, marked, pid in lines if marked == word]


def living(stack: Stack) -> list[int]:
    """Return which of the processes that handlers have started are there, be it as zombies."""
    return [pid for pid in marks(stack, "started") if Path(f"/proc/{pid}").exists()]


def wait_until_none_is_left(stack: Stack) -> None:
    assert marks(stack, "started") != []
    wait_until(lambda: not living(stack), what="the processes to end", seconds=20)


@pytest.mark.parametrize("method", ["fork", repeated("spawn"), repeated("forkserver")])
def test_a_handler_may_have_processes_of_every_kind_and_again_in_the_next_run(stack: Stack, method: str) -> None:
    for _ in range(2):
        assert job_after(stack, "compute", method=method) == ("succeeded", "14 14 [0] said", ["succeeded"])
    log = stack.logs()
    assert "processes killed" not in log.rpartition("leave")[0]
    assert "process died unexpectedly" not in log


@pytest.mark.parametrize(
    ("how", "outcomes"),
    [
        ("return", ["succeeded"]),
        ("raise", ["failed", "succeeded"]),
        repeated("give-up", ["gave_up"]),
        repeated("later", ["retry_later", "succeeded"]),
    ],
)
def test_what_a_handler_leaves_has_ended_once_its_outcome_is_recorded(
    stack: Stack, how: str, outcomes: list[str]
) -> None:
    assert job_after(stack, "leave", how=how)[2] == outcomes
    assert (len(marks(stack, "started")) >= 5, living(stack)) == (True, [])
    assert "processes killed that the handler had left" in stack.logs()


def test_what_a_handler_leaves_has_ended_once_its_soft_limit_is_recorded(stack: Stack) -> None:
    assert job_after(stack, "soft")[2] == ["soft_limit"]
    assert living(stack) == []


@pytest.mark.parametrize("action", ["hard", repeated("deaf")])
def test_processes_end_at_the_hard_limit(stack: Stack, action: str) -> None:
    assert job_after(stack, action)[2] == ["hard_limit"]
    wait_until_none_is_left(stack)


def test_processes_end_with_a_child_that_exits_in_mid_run(stack: Stack) -> None:
    assert job_after(stack, "leave", how="exit")[2] == ["crashed", "succeeded"]
    wait_until_none_is_left(stack)


def test_processes_end_with_a_child_that_is_killed(stack: Stack) -> None:
    begun = len(marks(stack, "begun"))
    of_job = send(stack, "leave", how="sleep")
    (pid,) = wait_until(lambda: marks(stack, "begun")[begun:], what="the handler to run")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: stack.rows(f"SELECT 1 {of_job} AND state = 'succeeded'"), what="the second run")
    wait_until_none_is_left(stack)


@pytest.mark.parametrize("what", ["executor", repeated("pool")])
def test_what_is_kept_for_later_ends_with_its_run_and_the_next_run_makes_its_own(stack: Stack, what: str) -> None:
    assert [job_after(stack, "keep", what=what)[0] for _ in range(3)] == ["succeeded"] * 3
    assert living(stack) == []


def test_a_fork_that_comes_out_of_the_handler_is_no_second_child(stack: Stack) -> None:
    before = len(marks(stack, "forked"))
    assert job_after(stack, "fork") == ("succeeded", "parent", ["succeeded"])
    assert len(marks(stack, "forked")) == before + 2
    assert job_after(stack, "compute", method="fork")[0] == "succeeded"


@pytest.mark.slow
def test_a_stop_lets_a_handler_go_on_with_its_processes(stack: Stack) -> None:
    begun = len(marks(stack, "begun"))
    of_job = send(stack, "wait", seconds=1.5)
    wait_until(lambda: marks(stack, "begun")[begun:], what="the handler to run")
    worker = stack.processes[-1][1]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert stack.rows(f"SELECT state, result {of_job}") == [("succeeded", "waited")]
    assert living(stack) == []
    start_worker(stack)


@pytest.mark.parametrize(("action", "payload"), [("wait", {"seconds": 35}), ("leave", {"how": "sleep"})])
@pytest.mark.slow
def test_at_the_end_of_the_grace_a_run_with_processes_is_handed_back(
    stack: Stack, action: str, payload: dict[str, Any]
) -> None:
    begun = len(marks(stack, "begun"))
    of_job = send(stack, action, **payload)
    wait_until(lambda: marks(stack, "begun")[begun:], what="the handler to run")
    worker = stack.processes[-1][1]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt, forgiven {of_job}") == [("retrying", 1, 1)]
    assert living(stack) == []
    start_worker(stack)
    wait_until(lambda: stack.rows(f"SELECT 1 {of_job} AND state = 'succeeded'"), what="the second run")


def test_processes_end_with_a_worker_that_is_killed(stack: Stack) -> None:
    begun = len(marks(stack, "begun"))
    send(stack, "leave", how="sleep")
    wait_until(lambda: marks(stack, "begun")[begun:], what="the handler to run")
    worker = stack.processes[-1][1]
    worker.kill()
    worker.wait()
    wait_until_none_is_left(stack)


def test_a_child_that_has_missed_its_parents_end_and_waits_for_a_lock_ends_all_the_same() -> None:
    """A signal that comes as the one before is handled does not interrupt a call into C a second time."""
    command = [sys.executable, "-m", "tests.support.programs.wait_for_ever"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        try:
            parent.communicate(timeout=60)  # Its end comes with that of the last process that could write there.
        except subprocess.TimeoutExpired:
            os.killpg(parent.pid, signal.SIGKILL)
            raise


def test_a_child_that_is_just_being_started_is_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "_never_ended", set(children_of(os.getpid())))

    def kill_count(*pids: int | None) -> int:
        processes = [SimpleNamespace(pid=pid) for pid in pids]
        monkeypatch.setattr(orphans, "_pool", SimpleNamespace(_pool=SimpleNamespace(_pool=processes)))
        return orphans.end_orphans()

    with subprocess.Popen(["sleep", "600"], start_new_session=True) as apart, subprocess.Popen(["sleep", "600"]) as own:
        assert (kill_count(None), kill_count(apart.pid), apart.poll()) == (0, 0, None)
        assert kill_count() == 1
        assert (apart.wait(), own.poll()) == (-signal.SIGKILL, None)
        own.kill()
    assert kill_count() == 0


def test_a_signal_that_comes_at_a_fork_is_neither_lost_nor_taken_by_the_wrong_process() -> None:
    done = run_module("tests.support.programs.fork_and_terminate")
    assert (done.stdout.splitlines(), done.stderr) == (["SIGTERM", "the limit was raised"], "")


def test_a_run_without_processes_looks_no_further() -> None:
    done = run_module("tests.support.programs.end_no_processes")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.postgres
def test_a_forked_process_has_a_connection_of_its_own(tmp_path: Path) -> None:
    with unmeasured(), running_stack(tmp_path, database="postgres", broker="filesystem", **SETTINGS) as stack:
        stack.migrate()
        stack.start("receiver")
        start_worker(stack)
        stack.wait_until_ready()
        for _ in range(2):
            assert job_after(stack, "query") == ("succeeded", "exit status 0", ["succeeded"])
