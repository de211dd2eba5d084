"""Threads that run as long as their process. If one fails, the process ends: otherwise the failure would be unseen."""

import logging
import os
import threading
import traceback
from collections.abc import Callable

logger = logging.getLogger(__name__)


def start_thread(name: str, work: Callable[[], None]) -> threading.Thread:
    """Start work on a thread. If it raises, the process exits with status 1, and its supervisor starts another."""

    def run() -> None:
        try:
            work()
        except BaseException as error:
            extra = {"name_of_thread": name, "error": place_of(error), "stack": stack_of(error)}
            logger.critical("thread failed; the process ends", extra=extra)
            os._exit(1)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def place_of(error: BaseException) -> str:
    """Return an exception's class and where it was raised. Its text is left out: a library's may hold a password."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__


def stack_of(error: BaseException) -> str:
    """Return how an exception came about, the outermost call first, in one line and without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
