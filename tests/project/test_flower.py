"""Flower as a real process on the filesystem broker: it is closed to everybody but the operator, whom it shows jobs."""

import base64
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

import pytest
from tornado.options import options

from tests.support.probing import Probed
from tests.support.processes import free_port, manage, running, wait_until
from tests.support.stack import Stack, running_stack
from workers import flower_settings

PASSWORD = "a,password:with 'marks' that 100 % of parsers like"


class Flower(NamedTuple):
    port: int
    process: Popen[bytes]
    log: Path

    def answer(self, method: str, path: str, password: str | None = None) -> int:
        return self._ask(method, path, password)[0]

    def page(self, path: str) -> str:
        status, text = self._ask("GET", path, PASSWORD)
        assert status == 200, path
        return text

    def _ask(self, method: str, path: str, password: str | None) -> tuple[int, str]:
        headers = {}
        if password is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"operator:{password}".encode()).decode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def is_up(self, path: str = "/healthcheck") -> bool:
        with suppress(OSError):
            return self.answer("GET", path) == 200
        return False


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    directory = tmp_path_factory.mktemp("flower")
    port = free_port()
    settings = {
        "HOOKLINE_DATA_DIR": directory / "data",
        "HOOKLINE_FLOWER_PORT": port,
        "HOOKLINE_OPERATOR_PASSWORD": PASSWORD,
        # Would let anyone shut workers down, and would open the pages, if either counted.
        "FLOWER_UNAUTHENTICATED_API": "1",
        "FLOWER_BASIC_AUTH": "operator:guess",
    }
    with running("flower", log=directory / "flower.log", **settings) as process:
        started = Flower(port, process, directory / "flower.log")
        wait_until(started.is_up, what="Flower answers")
        yield started


def test_flower_knows_each_name_that_its_settings_hold() -> None:
    import_module("flower.options")  # It tells tornado its names.

    ours = {name for name in vars(flower_settings) if not name.startswith("_")} - {"settings", "listening"}
    assert ours <= set(options.as_dict())
    assert flower_settings.max_tasks < options.max_tasks


@pytest.mark.parametrize("path", ["/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"])
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
    port = free_port()
    settings = {
        "HOOKLINE_DATA_DIR": tmp_path / "data",
        "HOOKLINE_FLOWER_PORT": port,
        "HOOKLINE_OPERATOR_PASSWORD": PASSWORD,
        "FLOWER_URL_PREFIX": "/console/flower/",
    }
    with running("flower", log=tmp_path / "flower.log", **settings) as process:
        started = Flower(port, process, tmp_path / "flower.log")
        wait_until(lambda: started.is_up("/console/flower/healthcheck"), what="Flower answers")
        assert started.answer("GET", "/console/flower/workers", PASSWORD) == 200
        assert started.answer("GET", "/console/flower/workers") == 401


def test_flower_does_not_start_without_a_password(tmp_path: Path) -> None:
    ended = manage("flower", HOOKLINE_DATA_DIR=tmp_path / "data", HOOKLINE_OPERATOR_PASSWORD="")
    assert ended.returncode == 1
    assert "HOOKLINE_OPERATOR_PASSWORD" in ended.stderr


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


def start_flower(stack: Stack) -> Flower:
    port = free_port()
    process = stack.start("flower", HOOKLINE_FLOWER_PORT=str(port), HOOKLINE_OPERATOR_PASSWORD=PASSWORD)
    return Flower(port, process, stack.directory / "flower.log")


def test_flower_shows_each_attempt_of_a_job_with_its_handler_times_and_end(tmp_path: Path) -> None:
    probes = Probed(free_port())
    with running_stack(tmp_path, database="sqlite", broker="filesystem") as stack:
        flower = start_flower(stack)
        wait_until(flower.is_up, what="Flower answers")
        stack.manage("migrate", "-v0")
        stack.start("receiver")
        stack.start("relay")
        stack.start("worker", "--concurrency", "1", HOOKLINE_PROBE_PORT=str(probes.port))
        stack.wait_until_ready()
        wait_until(lambda: json.loads(flower.page("/workers?json=1"))["data"], what="Flower to see the worker")
        for action in ("work", "fail-once", "give-up", "die"):
            assert stack.send(action)[0] == 202
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

        ((name, shown),) = [(one["hostname"], one) for one in json.loads(flower.page("/workers?json=1"))["data"]]
        assert {task["worker"] for task in tasks.values()} == {name}
        counts = {kind: shown[f"task-{kind}"] for kind in ("received", "started", "succeeded", "failed", "retried")}
        assert counts == {"received": 6, "started": 6, "succeeded": 2, "failed": 2, "retried": 2}
        metrics = flower.page("/metrics")
        assert f'flower_task_runtime_seconds_count{{task="trial.fail_once",worker="{name}"}} 2.0' in metrics
        assert re.findall(r"flower_worker_prefetched_tasks\{.*\} (\S+)", metrics) == ["0.0"] * 4
        crashed = 'hookline_worker_runs_total{handler="trial.kill_the_process",outcome="crashed"}'
        assert probes.metric(crashed) == 2
        assert probes.metric("hookline_worker_events_dropped_total") == 0
