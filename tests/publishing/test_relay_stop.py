"""How `manage.py relay` hears that it is to stop, at the most awkward of moments."""

from pathlib import Path

import pytest

from tests.support.processes import manage, unmeasured

HELD = """
import os, signal, threading, time
from webhooks.management.commands.relay import stop_at_signal

create = threading.Thread.__init__
def create_slow_to_begin(thread, **options):
    create(thread, **options)
    started = thread._started
    started.set = lambda: (threading.Event.set(started), time.sleep(0.3))
threading.Thread.__init__ = create_slow_to_begin  # `start` returns, and the thread has not taken all its locks.

stop = threading.Event()
stop_at_signal(stop)
with {lock}:
    os.kill(os.getpid(), signal.{number})
    time.sleep(10)
os._exit(1)
"""


@pytest.mark.parametrize(
    ("lock", "number"),
    [
        ("stop._cond", "SIGTERM"),
        ("threading._active_limbo_lock", "SIGINT"),  # Held while a thread is being started.
    ],
)
def test_it_leaves_with_0_although_the_signal_finds_its_thread_with_a_lock_in_hand(
    tmp_path: Path, lock: str, number: str
) -> None:
    program = HELD.format(lock=lock, number=number)
    with unmeasured():
        ended = manage("shell", "--no-imports", "-v0", "--command", program, HOOKLINE_DATA_DIR=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
