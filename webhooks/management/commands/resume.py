"""`manage.py resume`: end the pause of a queue or a handler."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.inbox import pauses
from webhooks.management.account import account
from webhooks.management.migrated import on_migrated_database
from webhooks.management.pausing import add_names


class Command(BaseCommand):
    help = "End the pause of a queue or a handler: workers take its waiting jobs again within a second or two."
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        add_names(parser)
        parser.add_argument("--reason", default="", help="Why, for the audit.")

    def handle(self, *, kind: str, name: str, reason: str, **options: Any) -> None:
        ended = on_migrated_database(
            lambda: pauses.resume(**{kind: name}, reason=reason.strip(), who=account()), app="webhooks"
        )
        if not ended:
            raise CommandError(f"The {kind} {name} is not paused.")
        self.stdout.write(f"Resumed {kind} {name}.")
