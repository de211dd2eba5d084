"""`manage.py receiver`: serves the webhooks, the probes and the admin, under Granian."""

import os
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from webhooks.front import DRAIN_SIGNAL

CONNECTIONS = 1000
HEADER_SECONDS = 10
STOP_MARGIN_SECONDS = 5


class DrainingServer(Server):  # type: ignore[misc, valid-type]  # Which class it is depends on the build of Python.
    """Serves on for a while after SIGTERM, not ready, so that whoever sends traffic here has turned away.

    Granian alone closes its listener at once and drops the connections that are kept alive.
    """

    is_draining = False

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        if self.is_draining:
            return
        self.is_draining = True
        for worker in self.wrks:
            os.kill(worker.inner.pid, DRAIN_SIGNAL)
        stop = threading.Timer(settings.HOOKLINE_DRAIN_SECONDS, super().signal_handler_interrupt)
        stop.daemon = True
        stop.start()


class Command(BaseCommand):
    help = "Serve webhooks, probes and the admin until SIGTERM."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        DrainingServer(
            settings.RSGI_APPLICATION,
            address=settings.HOOKLINE_HOST,
            port=settings.HOOKLINE_PORT,
            interface=Interfaces.RSGI,
            # Over HTTP/2, Granian fails HEAD, drops an early 413, and a stalled body outlasts the stop.
            http=HTTPModes.http1,
            websockets=False,
            backlog=CONNECTIONS,
            backpressure=CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000),
            # A body that stalls is given up after its time; nothing holds the stop longer.
            workers_kill_timeout=int(settings.HOOKLINE_BODY_SECONDS) + STOP_MARGIN_SECONDS,
            log_level=LogLevels.warning,
        ).serve()
