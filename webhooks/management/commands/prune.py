"""`manage.py prune`: removes old rows now; the relay does the same in small steps. Stops between two batches."""

import sys
from collections.abc import Iterator
from threading import Event
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from tqdm import tqdm

from webhooks.inbox import database
from webhooks.inbox.retention import Limits, Pruned, current_limits, prune
from webhooks.management.migrated import on_migrated_database
from webhooks.management.stop_signals import stop_between_batches


class Command(BaseCommand):
    help = (
        "Remove payloads, and deliveries with their jobs and attempts, that are older than the settings keep them. "
        "The relay does so by itself, every hour. This command may run while all programs run."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Remove nothing; say what would be removed.")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        limits = on_migrated_database(current_limits)
        if limits is None:
            self.stdout.write("Nothing was ever received.")
            return
        with stop_between_batches() as stop:
            pruned, failure = _prune(limits, stop, is_dry_run=dry_run)
        self.stdout.write("A dry run: nothing is removed." if dry_run else "Removed:")
        for line in _lines(pruned, limits):
            self.stdout.write(line)
        if failure is not None:
            raise CommandError(f"The database {database.reason(failure)}; the next pass continues.")
        if stop.is_set():
            self.stdout.write("Stopped before the end; the next pass continues.")


def _prune(limits: Limits, stop: Event, *, is_dry_run: bool) -> tuple[Pruned, Error | None]:
    """Prune until the end, a signal or a failure; return what was removed, and the failure if there was one."""
    pruned = Pruned()
    with tqdm(unit="", leave=False, disable=not sys.stderr.isatty()) as bar:
        try:
            for batch in prune(limits, is_dry_run=is_dry_run):
                pruned += batch.pruned
                bar.set_description(f"received {batch.reached:%Y-%m-%d %H:%M}", refresh=False)
                of_batch = batch.pruned
                bar.update(of_batch.deliveries + of_batch.payloads + of_batch.app_rows + of_batch.figures)
                if stop.is_set():
                    break
        except Error as error:
            return pruned, error
    return pruned, None


def _lines(pruned: Pruned, limits: Limits) -> Iterator[str]:
    yield f"deliveries: {pruned.deliveries:,}  (received before {limits.deliveries:%Y-%m-%d %H:%M} UTC)"
    yield f"their jobs: {pruned.jobs:,}"
    yield f"their attempts: {pruned.attempts:,}"
    yield f"rows of apps: {pruned.app_rows:,}  (inserted before {limits.deliveries:%Y-%m-%d %H:%M} UTC)"
    yield f"replays: {pruned.replays:,}  (ended before {limits.deliveries:%Y-%m-%d %H:%M} UTC)"
    yield f"figures: {pruned.figures:,}  (of minutes before {limits.minutes:%Y-%m-%d %H:%M} UTC, and old hours)"
    yield f"payloads: {pruned.payloads:,}  (received before {limits.payloads:%Y-%m-%d %H:%M} UTC)"
