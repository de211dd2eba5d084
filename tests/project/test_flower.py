"""Flower as a real process on the filesystem broker: it is closed to everybody but the operator, whom it shows jobs."""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tornado.options import options

from tests.support.flower import PASSWORD, Flower, running_flower, start_flower
from tests.support.probing import Probed
from tests.support.processes import free_port, wait_until
from tests.support.stack import running_stack
from workers import flower_settings


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    settings = {
        "HOOKLINE_OPERATOR_PASSWORD": PASSWORD,
        # Would let anyone shut workers down, and would open the pages, if either counted.
        "FLOWER_UNAUTHENTICATED_API": "1",
        "FLOWER_BASIC_AUTH": "operator:guess",
    }
    with running_flower(tmp_path_factory.mktemp("flower"), **settings) as started:
        yield started


def test_flower_knows_each_name_that_its_settings_hold() -> None:
    import_module("flower.options")  # It tells tornado its names.

    ours = {name for name in vars(flower_settings) if not name.startswith("_")} - {
        *("settings", "listening", "flower_access", "flower_pages")
    }
    assert ours <= set(options.as_dict())
    assert flower_settings.max_tasks < options.max_tasks


@pytest.mark.parametrize("path", ["/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/metrics"])
@pytest.mark.parametrize("password", [None, "", "guess", PASSWORD.partition(",")[0]])
def test_flower_shows_nothing_without_the_password(flower: Flower, path: str, password: str | None) -> None:
    assert flower.answer("GET", path, password) == 401


@pytest.mark.parametrize("password", [None, "guess"])
@pytest.mark.parametrize("path", ["/api/worker/shutdown/worker@here", "/api/worker/pool/restart/worker@here"])
def test_nobody_controls_a_worker_without_the_password(flower: Flower, path: str, password: str | None) -> None:
    assert flower.answer("POST", path, password) == 401


@pytest.mark.parametrize("path", ["/workers", "/api/workers"])
def test_the_operator_gets_in(flower: Flower, path: str) -> None:
    assert flower.answer("GET", path, PASSWORD) == 200


def test_the_password_is_not_among_the_arguments_of_the_process(flower: Flower) -> None:
    arguments = Path(f"/proc/{flower.process.pid}/cmdline")
    if not arguments.exists():
        pytest.skip("needs Linux's /proc")
    command = arguments.read_text().split("\0")
    assert "flower" in command
    assert not any(PASSWORD[:10] in argument for argument in command)


@pytest.mark.slow
def test_flower_below_a_prefix_answers_there(tmp_path: Path) -> None:
    with running_flower(tmp_path, prefix="/console/flower/", HOOKLINE_OPERATOR_PASSWORD=PASSWORD) as started:
        assert started.answer("GET", "/console/flower/workers", PASSWORD) == 200
        for path in ("/console/flower/workers", "/console/flower/metrics", "/console/flower/api/workers"):
            assert started.answer("GET", path) == 401
        assert started.answer("GET", "/workers", PASSWORD) == 404


def test_flower_ends_on_sigterm_having_warned_of_nothing_but_absent_workers(flower: Flower) -> None:
    flower.process.terminate()
    assert flower.process.wait(timeout=10) == 0
    lines = flower.log.read_text().splitlines()
    assert [line for line in lines if "WARN" in line and "Inspect method" not in line] == []
    assert not any("Traceback" in line for line in lines)


# --- Jobs -------------------------------------------------------------------------------------------------------------

ENDS = {
    "1-1": ("trial.work", "SUCCESS", "worked", None),
    "2-1": ("trial.fail_once", "RETRY", None, "ConnectionError: the other side is away"),
    "2-2": ("trial.fail_once", "SUCCESS", "second time lucky", None),
    "3-1": ("trial.give_up", "FAILURE", None, "this repository is archived"),
    "4-1": ("trial.kill_the_process", "RETRY", None, "The process ended in mid-run: exitcode 1."),
    "4-2": ("trial.kill_the_process", "FAILURE", None, "The process ended in mid-run: exitcode 1."),
}
"""Each attempt, by job and attempt: its handler, and how Flower shows its end."""
OF_THE_PAYLOAD = "known to its sender alone"


def test_flower_shows_each_attempt_of_a_job_with_its_handler_times_and_end(tmp_path: Path) -> None:
    probes = Probed(free_port())
    with running_stack(tmp_path, database="sqlite", broker="filesystem") as stack:
        flower = start_flower(stack)
        stack.manage("migrate", "-v0")
        stack.start("receiver")
        stack.start("relay")
        stack.start("worker", "--concurrency", "1", HOOKLINE_PROBE_PORT=str(probes.port))
        stack.wait_until_ready()
        wait_until(lambda: json.loads(flower.page("/workers?json=1"))["data"], what="Flower to see the worker")
        for action in ("work", "fail-once", "give-up", "die"):
            assert stack.send(action, note=OF_THE_PAYLOAD)[0] == 202
            stack.wait_until_drained()

        def ended() -> dict[str, Any] | None:
            tasks: dict[str, Any] = json.loads(flower.page("/api/tasks"))
            return tasks if {key for key, task in tasks.items() if task["runtime"] is not None} == ENDS.keys() else None

        tasks = wait_until(ended, what="Flower to see how all attempts ended")
        assert {
            key: (task["name"], task["state"], task["result"], task["exception"]) for key, task in tasks.items()
        } == ENDS
        for key, task in tasks.items():
            assert task["args"] == f"({key.partition('-')[0]},)"
            assert task["received"] <= task["started"] + 0.5
            assert "trial." in flower.page(f"/task/{key}")
        assert set(json.loads(flower.page("/api/tasks?search=args:%22(2,)%22"))) == {"2-1", "2-2"}

        rows = flower.page("/tasks/datatable?draw=1&start=0&length=50&order[0][column]=0&columns[0][data]=name")
        assert {row["name"] for row in json.loads(rows)["data"]} == {name for name, *_ in ENDS.values()}

        ((name, shown),) = [(one["hostname"], one) for one in json.loads(flower.page("/workers?json=1"))["data"]]
        assert {task["worker"] for task in tasks.values()} == {name}
        counts = {kind: shown[f"task-{kind}"] for kind in ("received", "started", "succeeded", "failed", "retried")}
        assert counts == {"received": 6, "started": 6, "succeeded": 2, "failed": 2, "retried": 2}
        pages = ["/tasks", "/workers", f"/worker/{name}", "/api/tasks", "/api/workers?refresh=1"]
        of_tasks = [f"/{what}/{key}" for key in ENDS for what in ("task", "api/task/info")]
        assert [path for path in (*pages, *of_tasks) if OF_THE_PAYLOAD in flower.page(path)] == []
        assert OF_THE_PAYLOAD not in rows
        metrics = flower.page("/metrics")
        assert f'flower_task_runtime_seconds_count{{task="trial.fail_once",worker="{name}"}} 2.0' in metrics
        assert re.findall(r"flower_worker_prefetched_tasks\{.*\} (\S+)", metrics) == ["0.0"] * 4
        crashed = 'hookline_worker_runs_total{handler="trial.kill_the_process",outcome="crashed"}'
        assert probes.metric(crashed) == 2
        assert probes.metric("hookline_worker_events_dropped_total") == 0
