"""Programs that leave without the interpreter's finalisation, and otherwise end as any program of Python does."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import OUTSIDE, ROOT, environment, free_port, wait_until
from tests.support.stack import Stack, running_stack

OURS = "import sys; from webhooks.leaving import run_and_leave; run_and_leave(lambda: exec(sys.argv[1], {}))"
HAMMERING = """
import threading
begins = threading.Event()
def hammer():
    begins.set()
    while True:
        {}.get("key")
threading.Thread(target=hammer, daemon=True).start()
begins.wait()
"""
CLINGING = """
class Clinging:
    def __del__(self, print=print):
        print("finalised")
import sys
sys.modules["clinging"] = Clinging()
"""


def end_of(program: str, *, leaves: bool) -> tuple[int, str, str]:
    """Run a program to its end; return its status, what it printed, and the last line of its errors."""
    command = [sys.executable, "-c", *([OURS] if leaves else []), program]
    ended = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout, "".join(ended.stderr.splitlines()[-1:])


@pytest.mark.parametrize(
    "program",
    [
        "print('done')",
        "import sys; sys.exit()",
        "import sys; sys.exit(3)",
        "import sys; sys.exit(-1)",
        "import sys; sys.exit(256)",
        "import sys; sys.exit(True)",
        "import sys; sys.exit('a sentence')",
        "raise ValueError('no good')",
        "raise KeyboardInterrupt",
        "import sys; sys.stdout.close()",
        "import sys; sys.stderr = None; print('written')",
        "import sys; sys.stdout = open('/dev/full', 'w'); sys.stderr = None; print('lost')",
        "import atexit; atexit.register(print, 'last'); print('first')",
        "import atexit; atexit.register(print, 'last'); raise ValueError('no good')",
        "import atexit; atexit.register(print, 'goes on'); atexit.register(lambda: 1 / 0)",
        "import threading; threading.Thread(target=print, args=['waited for']).start()",
        "import concurrent.futures as f; f.ThreadPoolExecutor().submit(print, 'waited for')",
    ],
)
def test_status_output_and_error_are_those_that_python_itself_ends_with(program: str) -> None:
    assert end_of(program, leaves=True) == end_of(program, leaves=False)


def test_nothing_is_finalised_beside_a_thread_that_goes_on() -> None:
    assert end_of(CLINGING, leaves=False) == (0, "finalised\n", "")
    assert end_of(HAMMERING + CLINGING, leaves=True) == (0, "", "")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    app = {
        "HOOKLINE_APPS": "clinging_bot",
        "PYTHONPATH": str(OUTSIDE),
        "CLINGING_NOTES": str(tmp_path / "notes"),
        "HOOKLINE_PROBE_PORT": str(free_port()),
    }
    with running_stack(tmp_path, database="sqlite", broker="filesystem", **app) as stack:
        stack.migrate()
        notes(stack).unlink(missing_ok=True)
        yield stack


def notes(stack: Stack) -> Path:
    return stack.directory / "notes"


@pytest.mark.parametrize(
    ("role", "is_ready"),
    [
        ("worker", lambda stack: " ready." in stack.logs()),
        ("relay", lambda stack: "probes are answered" in stack.logs()),
        ("receiver", Stack.is_ready),
    ],
)
def test_a_role_runs_its_exit_functions_and_is_not_finalised(
    stack: Stack, role: str, is_ready: Callable[[Stack], bool]
) -> None:
    process = stack.start(role)
    wait_until(lambda: is_ready(stack), what=f"the {role} to be ready")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert notes(stack).read_text() == "exits\n"
