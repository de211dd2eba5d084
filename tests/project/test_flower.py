"""Flower as a real process on the filesystem broker: it is closed to everybody but the operator."""

import base64
import http.client
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import pytest
from tornado.options import options

from tests.support.processes import free_port, manage, running, wait_until
from workers import flower_settings

PASSWORD = "a,password:with 'marks' that 100 % of parsers like"


class Flower(NamedTuple):
    port: int
    process: Popen[bytes]
    log: Path

    def answer(self, method: str, path: str, password: str | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {}
        if password is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"operator:{password}".encode()).decode()
        connection.request(method, path, headers=headers)
        status = connection.getresponse().status
        connection.close()
        return status

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
