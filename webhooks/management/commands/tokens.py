"""`manage.py tokens create|list|revoke`: the tokens by which people pull deliveries from this installation."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from webhooks.console.roles import may_see_payloads
from webhooks.inbox import tokens
from webhooks.management.account import account
from webhooks.management.migrated import on_migrated_database
from webhooks.management.tables import console_on, moment, table
from webhooks.models import Token

LISTED = 500
LARGEST_ID = 2**63 - 1


class Command(BaseCommand):
    help = "Make, list and revoke the tokens by which people pull deliveries from this installation."
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="Make a token, and print it: this once.")
        create.add_argument("name", help="Where it is kept, such as laptop.")
        create.add_argument("--user", required=True, help="Whose it is: it may do what this user may.")
        create.add_argument("--days", type=int, default=tokens.DAYS, help=f"Good for so long (default {tokens.DAYS}).")
        listing = actions.add_parser("list", help="List the tokens, never what they are.")
        listing.add_argument("--user", help="Only this user's.")
        listing.add_argument("--format", choices=("table", "json"), default="table")
        revoke = actions.add_parser("revoke", help="Revoke a token at once.")
        revoke.add_argument("number", type=int, metavar="NUMBER", help="The token's number in the list.")
        revoke.add_argument("--reason", default="", help="Why: it goes to the audit log.")

    def handle(self, *, action: str, **options: Any) -> None:
        on_migrated_database(lambda: None, app="webhooks")
        if action == "create":
            self._create(**options)
        elif action == "list":
            self._list(**options)
        else:
            self._revoke(**options)

    def _create(self, *, name: str, user: str, days: int, **_options: Any) -> None:
        owner = _user(user)
        if not 1 <= days <= tokens.MOST_DAYS:
            raise CommandError(f"--days must be from 1 to {tokens.MOST_DAYS:,}.")
        if not tokens.is_name(name):
            raise CommandError(f"The name must have 1 to {tokens.LONGEST_NAME} characters that can be printed.")
        if not may_see_payloads(owner):
            raise CommandError(f"{user} may not see payloads, so a token of theirs would open nothing.")
        try:
            made = tokens.make(owner, name=name, days=days, who=account())
        except tokens.TooManyError:
            raise CommandError(f"{user} has {tokens.MOST_TOKENS} tokens that can be used; revoke one first.") from None
        self.stdout.write(made.text)
        self.stderr.write(f"Good until {made.token.not_after:%Y-%m-%d} UTC. It is shown this once, and kept nowhere.")

    def _list(self, *, user: str | None, format: str, **_options: Any) -> None:
        listed = Token.objects.select_related("user").order_by("-pk")
        rows = list((listed.filter(user=_user(user)) if user else listed)[:LISTED])
        if format == "json":
            self.stdout.write(json.dumps([_as_json(each) for each in rows], indent=2))
            return
        header = ("number", "user", "name", "state", "made", "last used", "good until")
        console_on(self.stdout).print(table(header, map(_cells, rows), numbers=(0,)))

    def _revoke(self, *, number: int, reason: str, **_options: Any) -> None:
        found = Token.objects.select_related("user").filter(pk=number).first() if 0 < number <= LARGEST_ID else None
        if found is None:
            raise CommandError(f"There is no token {number}.")
        done = tokens.revoke(found, who=account(), reason=reason)
        self.stdout.write(f"Token {number} is revoked." if done else f"Token {number} was revoked before.")


def _user(name: str) -> User:
    found = User.objects.filter(username=name).first()
    if found is None:
        raise CommandError(f"There is no user {name}.")
    return found


def _cells(each: Token) -> list[str]:
    now = timezone.now()
    moments = (moment(at, now=now) for at in (each.created_at, each.last_used_at, each.not_after))
    return [str(each.pk), each.user.get_username(), each.name, tokens.state_of(each, now=now), *moments]


def _as_json(each: Token) -> dict[str, Any]:
    moments = {name: getattr(each, name) for name in ("created_at", "last_used_at", "not_after", "revoked_at")}
    return {
        "token": each.pk,
        "user": each.user.get_username(),
        "name": each.name,
        "state": tokens.state_of(each, now=timezone.now()),
        **{name: at.isoformat() if at else None for name, at in moments.items()},
    }
