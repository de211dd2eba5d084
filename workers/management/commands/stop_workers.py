"""`manage.py stop_workers`: every worker stops after its current jobs, and its supervisor starts a new one."""

import time
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from kombu.exceptions import OperationalError

from webhooks.inbox import database
from webhooks.publishing import reasons
from webhooks.subscriptions.installed import installed_subscriptions
from workers.stopping.remote_stop import RemoteStop

EXTRA_SECONDS = 30.0
"""How much longer than a worker's own grace the command waits, unless --timeout says otherwise."""


class Command(BaseCommand):
    help = (
        "Stop every worker after its current jobs; its supervisor starts a new one. "
        "A worker that is stopping already does not answer; it is found by the jobs that it still runs. "
        "Exit status: 0; 1 if not all stop in time, or if, with --stay-down, one may be started again."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queue", default="", help="only workers that take jobs from this queue")
        parser.add_argument("--wait", action="store_true", help="show the workers that still run, until all are gone")
        parser.add_argument(
            "--stay-down",
            action="store_true",
            help="workers exit with 37, and their supervisor does not start them again; those that were stopping "
            "already are named, and the exit status is 1; Kubernetes starts all of them again",
        )
        default_seconds = settings.HOOKLINE_GRACE_SECONDS + EXTRA_SECONDS
        parser.add_argument(
            "--timeout", type=float, default=default_seconds, metavar="SECONDS", help="Default %(default)g."
        )

    def handle(self, *, queue: str, wait: bool, stay_down: bool, timeout: float, **options: Any) -> None:
        known = {settings.CELERY_TASK_DEFAULT_QUEUE, *installed_subscriptions().queues}
        if queue and queue not in known:
            raise CommandError(f"No handler uses the queue {queue!r}; there are {', '.join(sorted(known))}.")
        stop = RemoteStop(current_app, queue=queue, stay_down=stay_down)
        deadline = time.monotonic() + timeout
        try:
            self._ask_all(stop, deadline)
            unreached = self._find_unreached(stop, is_awaited=wait)
            if wait and (stop.asked or unreached):
                self._wait(stop, deadline)
        except OperationalError as error:
            raise CommandError(f"The broker {reasons.reason(error)}. Its address is BROKER_URL.") from None
        except Error as error:
            raise CommandError(f"The database {database.reason(error)}.") from None
        if unreached and stay_down:
            names = ", ".join(unreached)
            raise CommandError(f"Not asked to stay down, and may be started again: {names}. If so, run this again.")

    def _ask_all(self, stop: RemoteStop, deadline: float) -> None:
        while not stop.all_stop() and time.monotonic() < deadline:
            stop.run_round()
        if going_on := sorted(asked.node for asked in stop.asked.values() if not asked.stops()):
            raise CommandError(f"Asked to stop, and not stopping yet at the timeout: {', '.join(going_on)}.")
        if stop.asked:
            self.stdout.write(f"{workers(len(stop.asked))} asked to stop after the current jobs.")

    def _find_unreached(self, stop: RemoteStop, *, is_awaited: bool) -> dict[str, int]:
        unreached = stop.find_unreached()
        whose = f" that takes jobs from {stop.queue}" if stop.queue else ""
        if not stop.asked and not unreached:
            self.stdout.write(f"No worker{whose} answers; none was asked to stop.")
        elif not stop.asked and not is_awaited:
            raise CommandError(f"No worker{whose} answers, but jobs still run on {', '.join(unreached)}.")
        elif unreached:
            count = workers(len(unreached))
            self.stdout.write(
                f"{count} gave no answer and was not asked; stopping already, or lost: {listed(unreached)}."
            )
        return unreached

    def _wait(self, stop: RemoteStop, deadline: float) -> None:
        shown = ""
        while remaining := stop.remaining():
            line = f"{workers(len(remaining))} still there: {listed(remaining)}"
            if time.monotonic() >= deadline:
                raise CommandError(f"Not all are gone at the timeout. {line}.")
            if line != shown:
                self.stdout.write(line)
                self.stdout.flush()
                shown = line
            stop.run_round()
        self.stdout.write("All of them are gone.")


def workers(count: int) -> str:
    return f"{count} worker" if count == 1 else f"{count} workers"


def listed(remaining: dict[str, int]) -> str:
    return ", ".join(f"{node} ({jobs} {'job' if jobs == 1 else 'jobs'})" for node, jobs in remaining.items())
