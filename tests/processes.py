"""Starting Hookline's own programs in tests, as processes with settings of their own. Imports nothing of pytest's."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
Result = TypeVar("Result")

_SETTINGS = (
    "HOOKLINE_",
    "GITHUB_WEBHOOK_SECRETS",
    "SECRET_KEY",
    "ALLOWED_HOSTS",
    "DATABASE_URL",
    "BROKER_URL",
    "DEBUG",
    "FLOWER_",
)
_OURS = ("HOOKLINE_TEST_", "HOOKLINE_REQUIRE_SERVICES")


def environment_without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without any of Hookline's settings, for this process and for those that tests start."""
    return {
        name: value for name, value in environment.items() if not name.startswith(_SETTINGS) or name.startswith(_OURS)
    }


def environment(**settings: object) -> dict[str, str]:
    """Return an environment that holds these settings of Hookline and no others."""
    own = environment_without_settings(os.environ)
    return own | {"PYTHONUNBUFFERED": "1"} | {name: str(value) for name, value in settings.items()}


def manage(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a `manage.py` command to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
