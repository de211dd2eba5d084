"""`manage.py pause`: let the jobs of a queue or a handler wait in the inbox."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.inbox import pauses
from webhooks.management.account import account
from webhooks.management.migrated import on_migrated_database
from webhooks.management.pausing import add_names, is_known


class Command(BaseCommand):
    help = (
        "Pause a queue or a handler: its jobs wait in the inbox, nothing is lost, and runs that have begun end. "
        "The reason is shown on the console and kept in the audit, under your account's name."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        add_names(parser)
        parser.add_argument("--reason", required=True, help="Why, in a few words.")

    def handle(self, *, kind: str, name: str, reason: str, **options: Any) -> None:
        if not reason.strip():
            raise CommandError("--reason: say why in a few words.")
        made = on_migrated_database(
            lambda: pauses.pause(**{kind: name}, reason=reason.strip(), who=account()), app="webhooks"
        )
        if made is None:
            raise CommandError(f"The {kind} {name} is paused already.")
        if not is_known(kind, name):
            self.stderr.write(f"No installed app has a {kind} of this name, and no such job waits. Is it right?")
        self.stdout.write(f"Paused {kind} {name}. To end it: manage.py resume {kind} {name}")
