"""`manage.py relay`: puts on the broker what is due in the inbox. Stops on SIGTERM within a second.

Its probes and metrics are served on a thread, for its loop may be held by a database that does not answer.
"""

import logging
import os
import signal
import threading
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webhooks.listening import in_words
from webhooks.probe_server import Probes, ProbeServer
from webhooks.publishing.gauges import QueueGauges
from webhooks.publishing.pulse import Pulse
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
        hear_stop(stop)
        subscriptions, pulse = installed_subscriptions(), Pulse(stop)
        gauges = QueueGauges({settings.CELERY_TASK_DEFAULT_QUEUE, *subscriptions.queues})
        if settings.HOOKLINE_PROBE_PORT:
            _serve_probes(pulse, gauges)
        Relay(subscriptions, stop=stop, pulse=pulse, gauges=gauges if settings.HOOKLINE_PROBE_PORT else None).run()


def hear_stop(stop: threading.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT, and have the process exit with 0 soon after, whatever holds it.

    A database or broker that does not answer must not hold the stop, nor may a lock that the interrupted thread holds:
    that of `stop` itself, say. So a thread is there before, woken by the interpreter's own handler, which takes no lock
    and runs even while the main thread waits in C. Nothing is lost by leaving at any moment.
    """
    word, ours = os.pipe()
    os.set_blocking(ours, False)
    signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
    there = threading.Event()

    def leave_after_the_word() -> None:
        there.set()
        while os.read(word, 1)[0] not in STOP_SIGNALS:
            pass
        time.sleep(STOP_SECONDS)
        os._exit(0)

    start_thread("stop", leave_after_the_word)
    there.wait()  # For `start_thread` returns before the new thread has taken the last lock it needs.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda _number, _frame: stop.set())


def _serve_probes(pulse: Pulse, gauges: QueueGauges) -> None:
    pulse.registry.register(gauges)
    probes = Probes(live=pulse.live, ready=pulse.ready, started=pulse.started, registry=pulse.registry)
    try:
        server = ProbeServer.on_first_free(settings.HOOKLINE_PROBE_PORTS, host=settings.HOOKLINE_HOST)
    except OSError as error:
        raise CommandError(in_words(error, variable="HOOKLINE_PROBE_PORT")) from None
    server.probes = probes
    server.start()
    logger.info("probes are answered", extra={"port": server.port})
