"""`manage.py worker`: becomes a Celery worker, with its flags in one place."""

import os
import re
import secrets
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.destination_handlers import QUEUE as FORWARDING
from webhooks.handing_over import hand_over
from webhooks.subscriptions.installed import installed_subscriptions


class Command(BaseCommand):
    help = (
        "Run handlers until SIGTERM, which is a warm stop. Replaces this process by Celery. "
        "Exit status: 0 after a planned stop; 37 if the worker is not to be started again; else a failure."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queues", metavar="Q,Q", default="", help="only these queues, comma-separated")
        parser.add_argument(
            "--concurrency", default=settings.HOOKLINE_WORKER_CONCURRENCY, help="handlers run at a time"
        )
        # Two workers of one name both want RabbitMQ's one exclusive control queue, and neither of them consumes.
        own = f"worker-{os.getpid()}-{secrets.token_hex(2)}@%h"  # A pid is not enough: in containers it is the same.
        parser.add_argument("--name", default=own, help="the node's name; %%h is the host's")

    def handle(self, *args: Any, queues: str, concurrency: int | str, name: str, **options: Any) -> None:
        known = {settings.CELERY_TASK_DEFAULT_QUEUE, FORWARDING, *installed_subscriptions().queues}
        wanted = {queue.strip() for queue in queues.split(",") if queue.strip()}
        if unknown := sorted(wanted - known):
            raise CommandError(f"No handler uses the queue {unknown[0]!r}; there are {', '.join(sorted(known))}.")
        if not re.fullmatch("0*[1-9][0-9]*", str(concurrency)):  # Celery takes 0 for one child a core.
            raise CommandError("--concurrency must be a whole number of 1 or more.")
        command = [
            *(sys.executable, "-m", "workers", "--app", "project", "worker"),
            *("--pool", "prefork", "--concurrency", str(concurrency), "--hostname", name),
            *("--loglevel", settings.HOOKLINE_LOG_LEVEL, "--events", "--without-gossip", "--without-mingle"),
        ]
        if wanted:
            command += ["--queues", ",".join(sorted(wanted))]
        if sys.platform == "darwin":
            # Else the system's libraries end a forked child that uses them, for example to look up a proxy.
            os.environ.setdefault("OBJC_DISABLE_INITIALIZE_FORK_SAFETY", "YES")
        hand_over("HOOKLINE_DESTINATION_KEYS", settings.HOOKLINE_DESTINATION_KEYS)
        os.execv(sys.executable, command)  # noqa: S606  No shell is wanted.
