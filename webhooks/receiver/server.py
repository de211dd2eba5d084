"""Granian as the receiver runs it: one process that serves, and a launcher that drains it at a stop."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from webhooks.receiver.connections import MOST_CONNECTIONS
from webhooks.receiver.front import DRAIN_SIGNAL
from webhooks.threads import start_thread

BUFFER_BYTES = 64 * 1024
"""How much Granian reads ahead of each connection; no head may be longer."""
STOP_MARGIN_SECONDS = 5


class DrainingServer(Server):  # type: ignore[misc, valid-type]  # Which class it is depends on the build of Python.
    """After SIGTERM, serves for HOOKLINE_DRAIN_SECONDS more but is not ready, so that traffic goes elsewhere first.

    Granian by itself would close its listener at once and drop the connections that are kept alive.
    """

    is_draining = False

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        if self.is_draining:
            return
        self.is_draining = True
        self._signal_workers(DRAIN_SIGNAL)
        drain_seconds = settings.HOOKLINE_DRAIN_SECONDS
        _later(drain_seconds, super().signal_handler_interrupt)
        # Only a stalled body can delay the stop: SIGKILL comes after it was refused. Granian's own time limit is not
        # used: now and then it logs that a process does not end, although that process has just ended.
        _later(
            drain_seconds + settings.HOOKLINE_BODY_SECONDS + STOP_MARGIN_SECONDS, self._signal_workers, signal.SIGKILL
        )

    def _signal_workers(self, number: int) -> None:
        for worker in self.wrks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.inner.pid, number)


def _later(seconds: float, call: Callable[..., None], *args: Any) -> None:
    def wait_and_call() -> None:
        time.sleep(seconds)
        call(*args)

    start_thread("stop", wait_and_call)


def serve(address: str) -> None:
    """Serve at this address and HOOKLINE_PORT until SIGTERM."""
    if sys.platform == "linux":
        # A forked process leaves without the interpreter's finalisation (webhooks/leaving.py). One that is started
        # anew, which is Python 3.14's default, does not.
        multiprocessing.set_start_method("fork", force=True)
    DrainingServer(
        settings.RSGI_APPLICATION,
        address=address,
        port=settings.HOOKLINE_PORT,
        interface=Interfaces.RSGI,
        # Over HTTP/2, Granian fails HEAD, drops an early 413, and does not end a stalled body at a stop.
        http=HTTPModes.http1,
        websockets=False,
        backlog=MOST_CONNECTIONS,
        backpressure=MOST_CONNECTIONS,
        # Granian's limit on headers counts from the last answer, so it is also the limit for idle connections.
        http1_settings=HTTP1Settings(
            header_read_timeout=round(settings.HOOKLINE_KEEP_ALIVE_SECONDS * 1000), max_buffer_size=BUFFER_BYTES
        ),
        log_level=LogLevels.warning,
    ).serve()
