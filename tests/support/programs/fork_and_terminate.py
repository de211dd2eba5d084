"""Forks as a handler does. SIGTERM comes before the new process is set up; then, before another fork, a limit's signal.

Prints what ended the first process, and whether the limit was raised.
"""

import os
import signal
import time
from types import FrameType, SimpleNamespace
from typing import Any

from billiard import process as billiard_process

from workers.processes.descendants import let_handlers_have_processes


class LimitError(Exception):
    """What a soft limit raises."""


def main() -> None:
    comes = {"SIGTERM": True, "limit": False}

    def send_a_limit() -> None:
        if comes["limit"]:
            os.kill(os.getpid(), signal.SIGUSR1)

    def send_the_end() -> None:
        if comes["SIGTERM"]:
            os.kill(os.getpid(), signal.SIGTERM)

    # Registered first: called last before a fork, and first after it.
    os.register_at_fork(before=send_a_limit, after_in_child=send_the_end)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGUSR1, raise_the_limit)
    child: Any = billiard_process.current_process()
    child._parent_pid, child._target = os.getppid(), SimpleNamespace(wait_for_job=None)
    let_handlers_have_processes()

    if (pid := os.fork()) == 0:
        time.sleep(5)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    print(signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit status {status}")

    comes.update(SIGTERM=False, limit=True)
    try:
        if os.fork() == 0:
            os._exit(0)
    except LimitError:
        print("the limit was raised")
    os.wait()


def raise_the_limit(_number: int, _frame: FrameType | None) -> None:
    raise LimitError


if __name__ == "__main__":
    main()
