"""`manage.py destinations list|test|pause|resume|rotate-keys`: where deliveries are forwarded to."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.encryption import EncryptionError
from webhooks.inbox.destinations import changing, testing
from webhooks.inbox.destinations.sealing import KEYLESS
from webhooks.inbox.destinations.standing import DestinationStanding, standings
from webhooks.management.account import account
from webhooks.management.migrated import on_migrated_database
from webhooks.management.tables import console_on, printable, table
from webhooks.models import Destination

Result = TypeVar("Result")
COLUMNS = ("destination", "state", "sends to", "waiting", "last success", "last failure")
NARROW = ("destination", "state", "waiting", "last success")
"""On a terminal of fewer than 80 columns."""


class Command(BaseCommand):
    help = (
        "List destinations, send one a test, pause and resume it, or encrypt the secrets of all again with the first "
        "of HOOKLINE_DESTINATION_KEYS. They are made, changed and deleted on the console's page Destinations."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|test|pause|resume|rotate-keys")
        listing = actions.add_parser("list", help="Show each destination, its state and what waits for it.")
        listing.add_argument("--format", choices=("table", "json"), default="table")
        trying = actions.add_parser("test", help="Send a ping, also to one that is paused.")
        pausing = actions.add_parser("pause", help="Take nothing new for it, and let its jobs wait.")
        pausing.add_argument("--reason", required=True, help="Why, in a few words; for the audit.")
        resuming = actions.add_parser("resume", help="Take what comes from now on, and send what waits.")
        for named in (trying, pausing, resuming):
            named.add_argument("name", metavar="NAME")
        actions.add_parser("rotate-keys", help="Encrypt the secrets of all again, with the first key.")

    def handle(self, *, action: str, **options: Any) -> None:
        actions: dict[str, Callable[[dict[str, Any]], None]] = {
            "list": self._list,
            "test": self._test,
            "pause": self._pause,
            "resume": self._resume,
            "rotate-keys": self._rotate_keys,
        }
        actions[action](options)

    def _list(self, options: dict[str, Any]) -> None:
        found = _done(standings)
        if options["format"] == "json":
            self.stdout.write(json.dumps([_as_json(one) for one in found], indent=2))
            return
        if not found:
            self.stdout.write("There is no destination. The console's page Destinations makes one.")
            return
        console = console_on(self.stdout)
        columns = COLUMNS if console.width >= 80 else NARROW
        console.print(table(columns, [[_cells(one)[name] for name in columns] for one in found]))
        for one in found:
            if one.state in ("open", "failing"):
                console.print(printable(f"{one.row.name}: {one.row.failures} failures in a row; {one.row.failure}"))

    def _test(self, options: dict[str, Any]) -> None:
        job = _done(lambda: testing.send_test(_stored(options["name"]), who=account()))
        if job is None:
            raise CommandError(f"No test was sent to {options['name']}: the inbox has taken none.")
        self.stdout.write(f"A test waits for a worker as job {job}. To see how it ends: manage.py job {job}")

    def _pause(self, options: dict[str, Any]) -> None:
        name, reason = options["name"], options["reason"].strip()
        if not reason:
            raise CommandError("--reason: say why in a few words.")
        if not _switched(name, on=False, reason=reason):
            raise CommandError(f"{name} is paused already.")
        self.stdout.write(f"Paused {name}. To end it: manage.py destinations resume {name}")

    def _resume(self, options: dict[str, Any]) -> None:
        name = options["name"]
        if not _switched(name, on=True):
            raise CommandError(f"{name} is not paused.")
        self.stdout.write(f"Resumed {name}: what waits for it is sent.")

    def _rotate_keys(self, _options: dict[str, Any]) -> None:
        count, unreadable = _done(lambda: changing.rotate_keys(who=account()))
        self.stdout.write(
            f"Encrypted the secrets of {count} destination{'' if count == 1 else 's'} with the first key."
        )
        if unreadable:
            names = ", ".join(unreadable)
            raise CommandError(
                f"Cannot be decrypted with any key: {names}. Give the key, or write their secrets again."
            )


def _done(work: Callable[[], Result]) -> Result:
    try:
        return on_migrated_database(work, app="webhooks")
    except EncryptionError:
        raise CommandError(KEYLESS) from None


def _switched(name: str, *, on: bool, reason: str = "") -> bool:
    return _done(lambda: changing.switch(_stored(name).name, on=on, who=account(), reason=reason))


def _stored(name: str) -> Destination:
    row = Destination.objects.filter(name=name).first()
    if row is None:
        known = ", ".join(Destination.objects.order_by("name").values_list("name", flat=True))
        raise CommandError(f"There is no destination {name}." + (f" There are: {known}." if known else ""))
    return row


def _cells(one: DestinationStanding) -> dict[str, str]:
    return {
        "destination": one.row.name,
        "state": one.state,
        "sends to": one.origin,
        "waiting": f"{one.waiting:,}" + ("" if one.is_counted else " or more"),
        "last success": _moment(one.row.succeeded_at),
        "last failure": _moment(one.row.failed_at),
    }


def _as_json(one: DestinationStanding) -> dict[str, Any]:
    row = one.row
    moments = {"succeeded_at": row.succeeded_at, "failed_at": row.failed_at, "next_try_at": row.next_try_at}
    return {
        "name": row.name,
        "handler": row.handler,
        "queue": row.queue,
        "state": one.state,
        "sends_to": one.origin,
        "waiting": one.waiting,
        "waiting_is_exact": one.is_counted,
        "failures": row.failures,
        "failure": row.failure,
        **{name: at.isoformat() if at else None for name, at in moments.items()},
    }


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" if at else "-"
