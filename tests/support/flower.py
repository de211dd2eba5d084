"""Flower as a real process, and asking it."""

import base64
import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from tests.support.processes import free_port, running, wait_until
from tests.support.stack import Stack

PASSWORD = "a,password:with 'marks' that 100 % of parsers like"


class Answer(NamedTuple):
    status: int
    location: str
    """Where a redirect leads; else empty."""
    cookies: str
    """Those that were set, as a browser sends them back."""
    text: str


class Flower(NamedTuple):
    port: int
    process: "Popen[bytes]"
    log: Path

    def answer(self, method: str, path: str, password: str | None = None) -> int:
        return self.ask(method, path, password=password).status

    def page(self, path: str) -> str:
        answer = self.ask("GET", path, password=PASSWORD)
        assert answer.status == 200, path
        return answer.text

    def ask(self, method: str, path: str, *, password: str | None = None, **headers: str) -> Answer:
        if password is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"operator:{password}".encode()).decode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            cookies = "; ".join(one.partition(";")[0] for one in response.headers.get_all("Set-Cookie") or ())
            return Answer(response.status, response.headers.get("Location", ""), cookies, response.read().decode())

    def is_up(self, path: str = "/healthcheck") -> bool:
        with suppress(OSError):
            return self.answer("GET", path) == 200
        return False


@contextmanager
def running_flower(directory: Path, *, prefix: str = "", **settings: object) -> Iterator[Flower]:
    """Run a Flower on the filesystem broker in this directory; with a prefix, its pages are below that."""
    port = free_port()
    given = {"HOOKLINE_DATA_DIR": directory / "data", "HOOKLINE_FLOWER_PORT": port, **settings}
    if prefix:
        given["FLOWER_URL_PREFIX"] = prefix
    with running("flower", log=directory / "flower.log", **given) as process:
        started = Flower(port, process, directory / "flower.log")
        wait_until(lambda: started.is_up(f"{prefix.rstrip('/')}/healthcheck"), what="Flower answers")
        yield started


def start_flower(stack: Stack) -> Flower:
    """Start the Flower of a stack."""
    port = free_port()
    process = stack.start("flower", HOOKLINE_FLOWER_PORT=str(port), HOOKLINE_OPERATOR_PASSWORD=PASSWORD)
    flower = Flower(port, process, stack.directory / f"flower-{len(stack.processes) - 1}.log")
    wait_until(flower.is_up, what="Flower answers")
    return flower
