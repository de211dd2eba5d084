"""`manage.py encrypt_payloads`: encrypts what is stored of payloads, with the first key. Stops between two batches."""

import sys
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from tqdm import tqdm

from webhooks.inbox import database
from webhooks.inbox.payload_keys import Seen, encrypt, last_id
from webhooks.management.migrated import on_migrated_database
from webhooks.management.stop_signals import stop_between_batches


class Command(BaseCommand):
    help = (
        "Encrypt the payloads that are stored in clear, or with another key, with the first key of "
        "HOOKLINE_PAYLOAD_KEYS. It may run while all programs run, and be stopped and begun again at any time. Until "
        "it has ended without a payload left, the keys of before are needed."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Change nothing; say what would be encrypted.")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        if not settings.HOOKLINE_PAYLOAD_KEYS:
            raise CommandError("HOOKLINE_PAYLOAD_KEYS holds no key; docs/production.md says how one is made.")
        last = on_migrated_database(last_id)
        with stop_between_batches() as stop:
            seen, failure = _passed(last, stop, is_dry_run=dry_run)
        self.stdout.write("A dry run: nothing is changed. Not encrypted yet:" if dry_run else "Encrypted:")
        self.stdout.write(f"were in clear: {seen.clear:,}")
        self.stdout.write(f"had another key: {seen.rekeyed:,}")
        self.stdout.write(f"had the first key already: {seen.current:,}")
        if failure is not None:
            raise CommandError(
                f"The database {database.reason(failure)}; begin again, and what is done is passed over."
            )
        if stop.is_set():
            self.stdout.write("Stopped before the end; begin again, and what is done is passed over.")
        if seen.unreadable:
            raise CommandError(
                f"{seen.unreadable:,} left as they are: HOOKLINE_PAYLOAD_KEYS holds no key for them. Add the key that "
                "they were encrypted with at its end, or wait until they are pruned."
            )


def _passed(last: int, stop: Event, *, is_dry_run: bool) -> tuple[Seen, Error | None]:
    """Encrypt until the end, a signal or a failure; return what was seen, and the failure if there was one."""
    seen = Seen()
    with tqdm(total=last, unit="", leave=False, disable=not sys.stderr.isatty()) as bar:
        try:
            for batch in encrypt(is_dry_run=is_dry_run):
                seen += batch
                bar.update(max(0, batch.reached - bar.n))
                if stop.is_set():
                    break
        except Error as error:
            return seen, error
    return seen, None
