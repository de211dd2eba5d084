"""Ends a program without the interpreter's finalisation, which daemon threads do not always survive.

At its end the interpreter takes modules and types apart while daemon threads may still run C code that uses them: now
and then one of them then crashes, and the program ends with SIGSEGV instead of its status. Here everything is done that
a program expects at its end, and then it exits. What is not done: `__del__` of objects that still exist.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import NoReturn

LOST_OUTPUT = 120
"""The status with which Python, too, reports output that could not be written."""


def run_and_leave(main: Callable[[], object]) -> NoReturn:
    """Run a program's main function, and exit with the status that Python would exit with."""
    try:
        main()
    except SystemExit as ended:
        _leave(_status_of(ended))
    except KeyboardInterrupt:
        _show_error()
        _leave(128 + signal.SIGINT, is_interrupted=True)
    except BaseException:
        _show_error()
        _leave(1)
    _leave(0)


def _status_of(ended: SystemExit) -> int:
    """Return the status that `sys.exit` was called with. If it was called with a message, print that."""
    if ended.code is None:
        return 0
    if isinstance(ended.code, int):
        return ended.code & 0xFF
    if sys.stderr is not None:
        sys.stderr.write(f"{ended.code}\n")
    return 1


def _show_error() -> None:
    sys.excepthook(*sys.exc_info())


def _leave(status: int, *, is_interrupted: bool = False) -> NoReturn:
    with ExitStack() as steps:  # From the last to the first. Each is taken, whatever the others raise.
        steps.callback(_exit, status, is_interrupted=is_interrupted)
        steps.callback(atexit._run_exitfuncs)
        steps.callback(threading._shutdown)  # type: ignore[attr-defined]  # Waits for threads that are no daemons.
    raise AssertionError("unreachable: the process has exited")


def _exit(status: int, *, is_interrupted: bool) -> None:
    is_written = all([_flush(sys.stdout), _flush(sys.stderr)])
    if is_interrupted:  # A shell stops its loop only if the signal has ended the program.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status or (0 if is_written else LOST_OUTPUT))


def _flush(stream: object) -> bool:
    """Write what the stream holds; tell whether that went well. It may be None, or closed."""
    try:
        if stream is not None and not stream.closed:  # type: ignore[attr-defined]
            stream.flush()  # type: ignore[attr-defined]
    except OSError:
        return False
    return True
