"""`manage.py relay`: puts jobs that are due in the inbox on the broker. Stops on SIGTERM within a second.

Its probes and metrics are served on a thread: a database that does not answer may block its loop.
"""

import logging
import os
import signal
import threading
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webhooks.listening import cannot_listen
from webhooks.probe_server import Health, ProbeServer
from webhooks.publishing.gauges import InboxGauges
from webhooks.publishing.health import RelayHealth
from webhooks.publishing.relay import Relay
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.threads import start_thread

STOP_SECONDS = 0.8
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Relay due jobs from the inbox to the broker until SIGTERM. Several may run."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        stop_at_signal(stop)
        subscriptions, health = installed_subscriptions(), RelayHealth(stop)
        gauges = InboxGauges({settings.CELERY_TASK_DEFAULT_QUEUE, *subscriptions.queues})
        if settings.HOOKLINE_PROBE_PORT:
            _serve_probes(health, gauges)
        Relay(subscriptions, stop=stop, health=health, gauges=gauges if settings.HOOKLINE_PROBE_PORT else None).run()


def stop_at_signal(stop: threading.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT, and exit with 0 after STOP_SECONDS, whatever the main thread does.

    The main thread may be waiting for a database or a broker that does not answer, or hold a lock that the stop needs,
    such as the lock of `stop` itself. So a second thread waits on a pipe, into which the interpreter writes the number
    of each signal: without a lock, and even while the main thread waits in C code. The relay may exit at any moment and
    loses nothing.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    is_running = threading.Event()

    def exit_after_signal() -> None:
        is_running.set()
        while os.read(read_end, 1)[0] not in STOP_SIGNALS:
            pass
        time.sleep(STOP_SECONDS)
        os._exit(0)

    start_thread("stop", exit_after_signal)
    is_running.wait()  # `start_thread` returns before the new thread has taken the last lock that it needs.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda _number, _frame: stop.set())


def _serve_probes(health: RelayHealth, gauges: InboxGauges) -> None:
    health.registry.register(gauges)
    probes = Health(live=health.live, ready=health.ready, started=health.started, registry=health.registry)
    try:
        server = ProbeServer.on_first_free(settings.HOOKLINE_PROBE_PORTS, host=settings.HOOKLINE_HOST)
    except OSError as error:
        raise CommandError(cannot_listen(error, variable="HOOKLINE_PROBE_PORT")) from None
    server.health = probes
    server.start()
    logger.info("probes are answered", extra={"port": server.port})
