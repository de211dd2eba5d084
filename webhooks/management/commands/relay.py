"""`manage.py relay`: puts jobs that are due in the inbox on the broker. Stops on SIGTERM within a second.

Its probes and metrics are served on a thread: a database that does not answer may block its loop.
"""

import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from webhooks.management.probes import serve_probes
from webhooks.management.stop_signals import stop_at_signal
from webhooks.probe_server import Health
from webhooks.publishing.gauges import InboxGauges
from webhooks.publishing.health import RelayHealth
from webhooks.publishing.relay import Relay
from webhooks.subscriptions.installed import installed_subscriptions

STOP_SECONDS = 0.8


class Command(BaseCommand):
    help = "Relay due jobs from the inbox to the broker until SIGTERM. Several may run."
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        stop_at_signal(stop, seconds=STOP_SECONDS)
        subscriptions, health = installed_subscriptions(), RelayHealth(stop)
        gauges = InboxGauges({settings.CELERY_TASK_DEFAULT_QUEUE, *subscriptions.queues})
        if settings.HOOKLINE_PROBE_PORT:
            health.registry.register(gauges)
            serve_probes(Health(live=health.live, ready=health.ready, started=health.started, registry=health.registry))
        Relay(subscriptions, stop=stop, health=health, gauges=gauges if settings.HOOKLINE_PROBE_PORT else None).run()
