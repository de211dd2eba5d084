"""`manage.py relay`: puts on the broker what is due in the inbox. Stops on SIGTERM within a second."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from webhooks.apps import installed_subscriptions
from webhooks.relay import Relay

STOP_SECONDS = 0.8


class Command(BaseCommand):
    help = "Relay due jobs from the inbox to the broker until SIGTERM. Several may run."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            # First of all, since a database or broker that does not answer must not hold the stop, nor may a lock
            # that this very thread holds. Nothing is lost by leaving at any moment.
            timer = threading.Timer(STOP_SECONDS, os._exit, args=(0,))
            timer.daemon = True
            timer.start()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        Relay(installed_subscriptions(), stop=stop).run()
