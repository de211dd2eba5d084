"""Starting Hookline's own programs in tests, as processes with settings of their own. Imports nothing of pytest's."""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TypeVar

from tests.support import services

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ROOT / "tests" / "apps" / "outside"
"""Apps as a team has them: not in this checkout's own packages, found by PYTHONPATH."""
Result = TypeVar("Result")

_SETTINGS = (
    "HOOKLINE_",
    "GITHUB_API_",
    "GITHUB_APP_",
    "GITHUB_HOOK",
    "GITHUB_WEBHOOK_SECRETS",
    "SECRET_KEY",
    "ALLOWED_HOSTS",
    "DATABASE_URL",
    "BROKER_URL",
    "DEBUG",
    "FLOWER_",
    "OTEL_",
)
_OURS = ("HOOKLINE_TEST_", "HOOKLINE_REQUIRE_SERVICES")


_COVERAGE = "COVERAGE_PROCESS_CONFIG"

_PORTS = 1000
"""How many each of the suite's processes has to itself, below those that Linux gives to outgoing connections."""
_first_port = 20_000 + _PORTS * int(services.WORKER.removeprefix("gw") or 0)
_ports = cycle(random.sample(range(_first_port, _first_port + _PORTS), _PORTS))


def environment_without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without any of Hookline's settings, for this process and for those that tests start."""
    return {
        name: value for name, value in environment.items() if not name.startswith(_SETTINGS) or name.startswith(_OURS)
    }


def environment(**settings: object) -> dict[str, str]:
    """Return an environment that holds these settings of Hookline and no others."""
    own = environment_without_settings(os.environ)
    return own | {"PYTHONUNBUFFERED": "1"} | {name: str(value) for name, value in settings.items()}


Done = subprocess.CompletedProcess[str]


def manage(*arguments: str, **settings: object) -> Done:
    """Run a `manage.py` command to its end."""
    return _run_to_the_end(["manage.py", *arguments], ROOT, settings)


def run_module(module: str, *arguments: object, cwd: Path = ROOT, **settings: object) -> Done:
    """Run a module of ours, or a tool, to its end."""
    return _run_to_the_end(["-m", module, *map(str, arguments)], cwd, settings)


def _run_to_the_end(arguments: Sequence[str], cwd: Path, settings: Mapping[str, object]) -> Done:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@contextmanager
def unmeasured() -> Iterator[None]:
    """Start processes without coverage's measurement.

    It does not outlive a fork in a process with threads, and crashes one that exits from another thread than its main.
    """
    kept = os.environ.pop(_COVERAGE, None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ[_COVERAGE] = kept


@contextmanager
def running(*command: str, log: Path, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run `manage.py command` beside the test; it is killed if the test has not ended it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=environment(**settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=30)


def wait_until(found: Callable[[], Result | None], *, what: str, seconds: float = 60) -> Result:
    """Return the first true answer, asked ten times a second, or fail saying what did not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}")


_reserved: list[socket.socket] = []


def reserved_port() -> int:
    """Return a free port, and keep it until this process ends for servers that share theirs, as receivers do.

    A port that is only looked up may be another program's by the time when a receiver starts.
    """
    port = free_port()
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", port))  # It does not listen: nobody connects to it.
    _reserved.append(holder)
    return port


def free_port() -> int:
    """Return a port that nobody listens on, and that no other process of the suite will be given."""
    for port in _ports:
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports are a cycle")
