"""How runs end, in a real worker: every outcome, the time limits, the ways to die, the warm stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from tests.support.brokers import FOR_PROGRAMS, repeated
from tests.support.processes import ROOT, manage, wait_until
from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("worker")
    with running_stack(directory, database="sqlite", broker="filesystem", HOOKLINE_LEASE_MARGIN_SECONDS="3") as stack:
        stack.start_all()
        yield stack


def job_after(stack: Stack, action: str, **client_payload: Any) -> dict[str, Any]:
    """Send a delivery, wait until its job is final and return the job's row with its attempts' outcomes."""
    status, answer = stack.send(action, **client_payload)
    assert (status, answer["jobs"]) == (202, 1)
    delivery = answer["delivery"]
    wait_until(
        lambda: stack.rows(
            f"SELECT 1 FROM webhooks_job WHERE delivery_id = {delivery} AND finished_at IS NOT NULL"
        ),
        what=f"the job of delivery {delivery} to be final",
    )  # fmt: skip
    columns = "id state attempt forgiven lost result error publish_at lease_until"
    ((job, *rest),) = stack.rows(
        f"SELECT {columns.replace(' ', ', ')} FROM webhooks_job WHERE delivery_id = {delivery}"
    )
    attempts = stack.rows(
        f"SELECT outcome, message, traceback FROM webhooks_attempt WHERE job_id = {job} ORDER BY number"
    )
    return dict(zip(columns.split()[1:], rest, strict=True)) | {
        "outcomes": [outcome for outcome, _, _ in attempts],
        "messages": [message for _, message, _ in attempts],
        "tracebacks": [traceback for _, _, traceback in attempts],
    }


def test_a_handlers_result_stands_in_the_inbox(stack: Stack) -> None:
    job = job_after(stack, "work")
    assert (job["state"], job["result"], job["error"]) == ("succeeded", "worked", "")
    assert (job["publish_at"], job["lease_until"]) == (None, None)


def test_a_failing_handler_runs_again_until_its_attempts_are_spent_and_is_then_dead(stack: Stack) -> None:
    job = job_after(stack, "fail")
    assert (job["state"], job["attempt"], job["outcomes"]) == ("dead", 3, ["failed"] * 3)
    assert job["error"] == "ValueError: no good All 3 attempts are spent."
    assert "tests/apps/trial/handlers.py" in job["tracebacks"][-1]


def test_a_handler_that_fails_once_succeeds_at_its_second_attempt(stack: Stack) -> None:
    job = job_after(stack, "fail-once")
    assert (job["state"], job["outcomes"], job["error"]) == ("succeeded", ["failed", "succeeded"], "")


def test_giving_up_is_final_at_once(stack: Stack) -> None:
    job = job_after(stack, "give-up")
    assert (job["state"], job["outcomes"], job["error"]) == ("dead", ["gave_up"], "this repository is archived")


def test_retry_later_costs_no_attempt(stack: Stack) -> None:
    job = job_after(stack, "later")
    assert (job["state"], job["forgiven"]) == ("succeeded", 2)
    assert job["outcomes"] == ["retry_later", "retry_later", "succeeded"]


def test_the_soft_time_limit_is_raised_in_the_handler_and_recorded(stack: Stack) -> None:
    job = job_after(stack, "soft")
    assert (job["state"], job["outcomes"]) == ("dead", ["soft_limit"])
    assert job["messages"] == ["The soft time limit of 1 s was reached."]
    assert "overrun_the_soft_limit" in job["tracebacks"][0]


def test_a_handler_that_swallows_the_soft_limit_ends_at_the_hard_one(stack: Stack) -> None:
    job = job_after(stack, "hard")
    assert (job["state"], job["outcomes"]) == ("dead", ["hard_limit"])
    assert "overrun_the_hard_limit" in job["tracebacks"][0]


def test_sys_exit_in_a_handler_is_a_failure_and_not_the_end_of_the_process(stack: Stack) -> None:
    job = job_after(stack, "exit")
    assert (job["state"], job["outcomes"]) == ("dead", ["failed", "failed"])
    assert job["error"].startswith("SystemExit: 3")


def test_a_memory_error_is_a_failure_and_the_worker_goes_on(stack: Stack) -> None:
    job = job_after(stack, "memory")
    assert (job["state"], job["outcomes"]) == ("dead", ["failed", "failed"])
    assert job_after(stack, "work")["state"] == "succeeded"


def test_a_wild_allocation_is_a_memory_error_in_its_own_job_alone(stack: Stack) -> None:
    job = job_after(stack, "hoard", megabytes=2000)
    assert (job["state"], job["outcomes"]) == ("dead", ["failed", "failed"])
    assert job["error"].startswith("MemoryError")


def test_a_handler_that_kills_its_process_is_dead_after_its_attempts_and_says_how_it_ended(stack: Stack) -> None:
    job = job_after(stack, "die")
    assert (job["state"], job["outcomes"], job["lost"]) == ("dead", ["crashed", "crashed"], 0)
    assert job["error"] == "The process ended in mid-run: exitcode 1. All 2 attempts are spent."
    assert job_after(stack, "work")["state"] == "succeeded"


def test_a_handler_that_no_signal_reaches_is_recorded_at_the_hard_limit(stack: Stack) -> None:
    job = job_after(stack, "deaf")
    assert (job["state"], job["outcomes"]) == ("dead", ["hard_limit"])
    assert job["error"].startswith("The hard time limit of 2 s was reached, and the process was killed.")


def test_a_child_that_is_killed_alone_costs_its_job_an_attempt(stack: Stack) -> None:
    _, answer = stack.send("work", seconds=1)
    (pid,) = wait_until(stack.running_pids, what="the handler to run")
    os.kill(pid, signal.SIGKILL)
    of_delivery = f"FROM webhooks_job WHERE delivery_id = {answer['delivery']}"
    wait_until(lambda: stack.rows(f"SELECT 1 {of_delivery} AND state = 'succeeded'"), what="the second run")
    assert stack.rows(f"SELECT attempt - budget_from_attempt, lost, forgiven {of_delivery}") == [(2, 0, 0)]


@pytest.mark.parametrize("broker", FOR_PROGRAMS)
@pytest.mark.slow
def test_a_child_that_is_killed_while_another_is_replaced_was_killed_alone(tmp_path: Path, broker: str) -> None:
    with running_stack(tmp_path, database="sqlite", broker=broker, HOOKLINE_CHILD_MAX_JOBS="1") as stack:
        stack.start_all(concurrency=2)
        stack.send("watch")
        (pid,) = wait_until(stack.running_pids, what="the handler to run")
        assert job_after(stack, "work")["state"] == "succeeded"
        os.kill(pid, signal.SIGKILL)
        ended = (
            "SELECT a.outcome, j.lost FROM webhooks_attempt a JOIN webhooks_job j ON j.id = a.job_id"
            f" WHERE a.pid = {pid} AND a.outcome <> ''"
        )
        assert wait_until(lambda: stack.rows(ended), what="the run to be recorded") == [("crashed", 0)]


@pytest.mark.redis
@pytest.mark.slow
def test_children_that_are_killed_all_at_once_cost_their_jobs_no_attempt(tmp_path: Path) -> None:
    # Not on the embedded broker: its children share one pipe, and one that is killed as it reads locks the others out.
    with running_stack(tmp_path, database="sqlite", broker="redis", HOOKLINE_LEASE_MARGIN_SECONDS="30") as stack:
        stack.start_all()
        for _ in range(2):
            stack.send("work", seconds=1.5)
        wait_until(lambda: len(stack.running_pids()) == 2, what="the handlers to run")
        worker = stack.processes[-1][1]
        # Each of the parent's threads has the children that it has started.
        tasks = Path(f"/proc/{worker.pid}/task").glob("*/children")
        for pid in [pid for task in tasks for pid in task.read_text().split()]:
            os.kill(int(pid), signal.SIGKILL)
        stack.wait_until_drained()
        assert (
            stack.rows("SELECT state, attempt - budget_from_attempt, lost FROM webhooks_job")
            == [("succeeded", 2, 1)] * 2
        )


def test_a_message_too_many_is_dropped_quietly(stack: Stack) -> None:
    job = job_after(stack, "work")
    ((job_id,),) = stack.rows("SELECT max(id) FROM webhooks_job")
    stack.run_module("tests.support.programs.publish_job", str(job_id))
    assert job_after(stack, "work")["state"] == job["state"] == "succeeded"
    assert stack.rows(f"SELECT count(*) FROM webhooks_attempt WHERE job_id = {job_id}") == [(1,)]


def test_term_lets_the_running_handler_finish_and_the_worker_exits_0(stack: Stack) -> None:
    _, answer = stack.send("work", seconds=2)
    running = f"SELECT 1 FROM webhooks_job WHERE delivery_id = {answer['delivery']} AND state = 'running'"
    wait_until(lambda: stack.rows(running), what="the handler to run")
    worker = next(process for name, process in stack.processes if name == "worker")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    states = stack.rows(
        f"SELECT state, attempt - budget_from_attempt FROM webhooks_job WHERE delivery_id = {answer['delivery']}"
    )
    assert states == [("succeeded", 1)]

    stack.start("worker", "--concurrency", "4")
    assert job_after(stack, "work")["state"] == "succeeded"


def test_term_to_the_whole_process_group_cuts_no_handler_off(stack: Stack) -> None:
    _, answer = stack.send("work", seconds=2)
    of_delivery = f"FROM webhooks_job WHERE delivery_id = {answer['delivery']}"
    wait_until(lambda: stack.rows(f"SELECT 1 {of_delivery} AND state = 'running'"), what="the handler to run")
    worker = [process for name, process in stack.processes if name == "worker"][-1]
    os.killpg(worker.pid, signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt {of_delivery}") == [("succeeded", 1)]
    stack.start("worker", "--concurrency", "4")


def test_a_child_is_replaced_after_its_number_of_jobs(tmp_path: Path) -> None:
    with running_stack(tmp_path, database="sqlite", broker="filesystem", HOOKLINE_CHILD_MAX_JOBS="1") as stack:
        stack.start_all(concurrency=1)
        for _ in range(3):
            job_after(stack, "work")
        assert stack.rows("SELECT count(DISTINCT pid) FROM webhooks_attempt") == [(3,)]


@pytest.mark.postgres
@pytest.mark.slow
def test_a_child_keeps_its_connection_from_job_to_job(tmp_path: Path) -> None:
    with running_stack(tmp_path, database="postgres", broker="filesystem") as stack:
        stack.start_all(concurrency=1)
        job_after(stack, "work")
        with psycopg.connect(stack.database_url, autocommit=True) as observer:

            def number(query: LiteralString) -> int:
                return int(observer.execute(query).fetchall()[0][0])

            sessions: LiteralString = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
            before = number(sessions)
            for _ in range(20):
                stack.send("work")
            succeeded: LiteralString = "SELECT count(*) FROM webhooks_job WHERE state = 'succeeded'"
            wait_until(lambda: number(succeeded) == 21, what="all jobs to succeed")
            assert number(sessions) - before < 10


@pytest.mark.slow
def test_quit_after_term_hands_the_running_job_back_and_it_runs_again(stack: Stack) -> None:
    _, answer = stack.send("work", seconds=5)
    of_delivery = f"FROM webhooks_job WHERE delivery_id = {answer['delivery']}"
    wait_until(lambda: stack.rows(f"SELECT 1 {of_delivery} AND state = 'running'"), what="the handler to run")
    worker = [process for name, process in stack.processes if name == "worker"][-1]
    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGQUIT)
    worker.wait(timeout=30)
    assert stack.rows(f"SELECT state, attempt - budget_from_attempt, forgiven {of_delivery}") == [("retrying", 1, 1)]

    stack.start("worker", "--concurrency", "4")
    wait_until(lambda: stack.rows(f"SELECT 1 {of_delivery} AND state = 'succeeded'"), what="the second run")


@pytest.mark.parametrize("pool", ["threads", repeated("solo")])
def test_a_pool_that_ignores_time_limits_is_refused_at_the_start(stack: Stack, pool: str) -> None:
    command = [sys.executable, "-m", "workers", "--app", "project", "worker", "--pool", pool]
    refused = subprocess.run(command, env=stack.settings(), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert "ignores handlers' time limits" in refused.stderr


def test_a_worker_for_a_queue_that_no_handler_uses_is_refused(stack: Stack) -> None:
    command = [sys.executable, "manage.py", "worker", "--queues", "trail"]
    refused = subprocess.run(command, env=stack.settings(), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert "No handler uses the queue 'trail'; there are default, forwarding, trial." in refused.stderr


@pytest.mark.parametrize("given", ["0", *map(repeated, ["-1", "1.5", "1e2", "many", "", " "])])
def test_a_number_of_handlers_at_a_time_that_is_none_is_refused(stack: Stack, given: str) -> None:
    ended = manage("worker", f"--concurrency={given}", **stack.settings())
    assert ended.returncode == 1
    assert "--concurrency must be a whole number of 1 or more." in ended.stderr
