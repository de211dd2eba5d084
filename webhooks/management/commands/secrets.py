"""`manage.py secrets add|list|retire|rotate-keys`: webhook secrets that are kept in the database, encrypted."""

import getpass
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_date, parse_datetime

from webhooks.inbox.secrets import changing
from webhooks.inbox.secrets.changing import SecretRefusedError
from webhooks.inbox.secrets.standing import KnownSecret, SourceStanding, standings
from webhooks.management.account import account
from webhooks.management.migrated import on_migrated_database
from webhooks.management.tables import console_on, printable, table

Result = TypeVar("Result")
COLUMNS = ("source", "secret", "from", "state", "created", "ends", "last used")
NARROW = ("source", "secret", "from", "ends", "last used")
"""On a terminal of fewer than 80 columns."""


class Command(BaseCommand):
    help = (
        "Add, list and retire the secrets that deliveries are signed with. They are kept in the database, encrypted "
        "with HOOKLINE_ENCRYPTION_KEYS, beside those of GITHUB_WEBHOOK_SECRETS; receivers follow within seconds."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|retire|rotate-keys")
        _add_arguments(actions.add_parser("add", help="Make a secret and print it once, or keep one from stdin."))
        listing = actions.add_parser("list", help="Show each source's secrets and when each last matched.")
        listing.add_argument("--source", help="Only this source.")
        listing.add_argument("--format", choices=("table", "json"), default="table")
        retiring = actions.add_parser("retire", help="End a secret. Refused while GitHub signs with it.")
        retiring.add_argument("fingerprint", metavar="FINGERPRINT", help="As `list` shows it.")
        retiring.add_argument("--source", default="", help="Where several sources have it.")
        retiring.add_argument("--reason", default="", help="For the audit.")
        retiring.add_argument("--force", action="store_true", help="Also one that is in use, or the last one.")
        actions.add_parser("rotate-keys", help="Encrypt all secrets again, with the first key.")

    def handle(self, *, action: str, **options: Any) -> None:
        actions = {"add": self._add, "list": self._list, "retire": self._retire, "rotate-keys": self._rotate_keys}
        actions[action](options)

    def _add(self, options: dict[str, Any]) -> None:
        source = options["source"] or _only_source()
        value = _from_stdin() if options["stdin"] else changing.new_secret()
        given = {"note": options["note"].strip(), "not_after": options["not_after"], "who": account()}
        made = _refusable(lambda: changing.add(source, value, **given))
        # The secret alone goes to stdout, so that it can be piped to where it is set.
        if not options["stdin"]:
            self.stdout.write(value)
            self.stderr.write("This is shown once. Set it as the webhook's secret on GitHub.")
        ends = f" until {_day(made.not_after)}" if made.not_after else ""
        self.stderr.write(f"Kept as {made.fingerprint} for {source}{ends}. Receivers have it within seconds.")

    def _list(self, options: dict[str, Any]) -> None:
        found = [one for one in _refusable(standings) if options["source"] in (None, one.name)]
        if not found:
            raise CommandError(f"There is no source {options['source']}.")
        if options["format"] == "json":
            self.stdout.write(json.dumps([_as_json(one) for one in found], indent=2))
            return
        console = console_on(self.stdout)
        columns = COLUMNS if console.width >= 80 else NARROW
        rows = [_cells(secret, columns) for one in found for secret in one.secrets]
        if rows:
            console.print(table(columns, rows))
        for line in (line for one in found for line in _sentences(one)):
            console.print(printable(line))

    def _retire(self, options: dict[str, Any]) -> None:
        given = {"source": options["source"], "reason": options["reason"], "is_forced": options["force"]}
        done = _refusable(lambda: changing.retire(options["fingerprint"], who=account(), **given))
        self.stdout.write(f"Retired {done.fingerprint} of {done.source}: within seconds it verifies nothing.")

    def _rotate_keys(self, _options: dict[str, Any]) -> None:
        count, unreadable = _refusable(lambda: changing.rotate_keys(who=account()))
        self.stdout.write(f"Encrypted {count} secret{'' if count == 1 else 's'} with the first key.")
        if unreadable:
            names = ", ".join(unreadable)
            raise CommandError(f"Cannot be decrypted with any key: {names}. Give the key, or retire them.")


def _add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--source", help="The source; needed where there are several.")
    parser.add_argument("--not-after", type=moment, help="From then on it verifies nothing: 2027-01-01 (UTC).")
    parser.add_argument("--note", default="", help="What it is for, in a few words.")
    parser.add_argument("--stdin", action="store_true", help="Keep the secret that stdin has, and print none.")


def _refusable(work: Callable[[], Result]) -> Result:
    try:
        return on_migrated_database(work, app="webhooks")
    except SecretRefusedError as refused:
        hint = " With --force it is retired all the same." if refused.may_be_forced else ""
        raise CommandError(f"{refused}{hint}") from None


def _only_source() -> str:
    if len(settings.HOOKLINE_SOURCES) > 1:
        raise CommandError(f"Say which source, with --source: {', '.join(settings.HOOKLINE_SOURCES)}.")
    [name] = settings.HOOKLINE_SOURCES
    return str(name)


def _from_stdin() -> str:
    """Return the secret; a person at a terminal is asked for it, and does not see it."""
    if sys.stdin.isatty():
        return getpass.getpass("Secret: ")
    return sys.stdin.readline().rstrip("\r\n")


def _sentences(standing: SourceStanding) -> Iterator[str]:
    yield from (f"{secret.fingerprint}: {standing.sentence(secret)}" for secret in standing.secrets)
    yield from (f"Warning: {sentence}" for sentence in standing.warnings)


def _cells(secret: KnownSecret, columns: Sequence[str]) -> Sequence[str]:
    row = secret.row
    cells = {
        "source": secret.source,
        "secret": secret.fingerprint,
        "from": "database" if row else "environment",
        "state": secret.state,
        "created": _day(row.created_at if row else None),
        "ends": _day(secret.not_after),
        "last used": _day(secret.last_used_at),
    }
    return [cells[name] for name in columns]


def _as_json(standing: SourceStanding) -> dict[str, Any]:
    return {
        "source": standing.name,
        "warnings": standing.warnings,
        "secrets": [_secret_as_json(standing, secret) for secret in standing.secrets],
    }


def _secret_as_json(standing: SourceStanding, secret: KnownSecret) -> dict[str, Any]:
    row = secret.row
    moments = {"created_at": row and row.created_at, "not_after": secret.not_after, "last_used_at": secret.last_used_at}
    return {
        "fingerprint": secret.fingerprint,
        "from": "database" if row else "environment",
        "state": secret.state,
        "note": row.note if row else "",
        "created_by": row.created_by if row else "",
        **{name: at.isoformat() if at else None for name, at in moments.items()},
        "standing": standing.sentence(secret),
    }


def _day(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}" if at else "-"


def moment(given: str) -> datetime:
    """Return a moment, or the beginning of a day, in UTC unless it says otherwise."""
    day = parse_date(given) if len(given) == len("2027-01-01") else None
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else parse_datetime(given)
    if at is None:
        raise ValueError(given)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
