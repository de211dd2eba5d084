"""`manage.py replay`: run jobs again by a filter, or make a handler's missing jobs, as a replay that the relay runs."""

import sys
import time
from argparse import BooleanOptionalAction
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from webhooks.inbox.replays import counting, life
from webhooks.inbox.replays.counting import Counted
from webhooks.inbox.replays.progress import progress_of
from webhooks.inbox.replays.scope import STATES, Scope, ScopeError
from webhooks.management.account import account
from webhooks.management.migrated import on_migrated_database
from webhooks.models import Replay

COUNT_SECONDS = 60.0
LOOK_SECONDS = 1.0
NEWEST = 20


class Command(BaseCommand):
    help = (
        "Run dead jobs again that match the filters, or with --missing make a handler's jobs for stored deliveries "
        "that have none. The relay does it, behind all live jobs; this command asks, and shows how far it is."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_argument_group("which jobs")
        what.add_argument("--handler", default="")
        what.add_argument("--missing", action="store_true", help="Make the handler's jobs that stored deliveries lack.")
        what.add_argument("--state", default=STATES[0].value, choices=[state.value for state in STATES])
        for name in ("event", "action", "repository", "fingerprint"):
            what.add_argument(f"--{name}", default="")
        what.add_argument("--installation", type=int)
        what.add_argument("--since", type=_moment, help="Received from this moment on, such as 2026-11-26T14:00 (UTC).")
        what.add_argument("--until", type=_moment, help="Received before it.")
        how = parser.add_argument_group("how")
        how.add_argument("--rate", type=_rate, default=life.USUAL_RATE, help="Jobs a second at most (%(default)g).")
        how.add_argument("--reason", default="", help="Why, for the audit log.")
        how.add_argument("--dry-run", action="store_true", help="Count, by handler, and do nothing.")
        how.add_argument("--yes", action="store_true", help="Do not ask.")
        how.add_argument("--wait", action=BooleanOptionalAction, default=True, help="Show the progress to the end.")
        others = parser.add_argument_group("other replays").add_mutually_exclusive_group()
        others.add_argument("--list", action="store_true", help=f"Show the newest {NEWEST}.")
        others.add_argument("--cancel", type=int, metavar="ID", help="End one before its end.")

    def handle(self, **options: Any) -> None:
        self._console = Console(file=self.stdout, highlight=False)  # type: ignore[arg-type]
        on_migrated_database(lambda: self._do(options), app="webhooks")

    def _do(self, options: dict[str, Any]) -> None:
        if options["list"]:
            self._list()
        elif options["cancel"] is not None:
            self._cancel(options["cancel"], options["reason"])
        else:
            self._replay(options)

    def _list(self) -> None:
        replays = list(Replay.objects.order_by("-created_at", "-id")[:NEWEST])
        if not replays:
            self.stdout.write("No replay exists.")
            return
        table = Table("id", "state", "ended", "failed", "what")
        for row in map(progress_of, replays):
            total = "counting" if row.row.total is None else f"{row.row.total:,}"
            ended, what = f"{row.ended:,} of {total}", escape(row.scope.in_words)
            table.add_row(str(row.row.pk), row.row.state, ended, f"{row.row.failed:,}", what)
        self._console.print(table)

    def _cancel(self, replay_id: int, reason: str) -> None:
        put_back = life.cancel(replay_id, who=account(), reason=reason)
        if put_back is None:
            raise CommandError(f"There is no replay {replay_id} that goes on.")
        self.stdout.write(f"Cancelled. {put_back:,} of its jobs had not begun, and will not.")

    def _replay(self, options: dict[str, Any]) -> None:
        scope = _scope(options)
        frozen = counting.freeze(scope)
        counted = counting.count(scope, frozen, seconds=COUNT_SECONDS)
        self._show(scope, counted)
        if options["dry_run"]:
            self.stdout.write("A dry run: nothing is run.")
            return
        if not counted.total and counted.is_complete:
            return
        reason = options["reason"].strip()
        if not reason:
            raise CommandError("--reason: say why in a few words.")
        if not options["yes"] and not _agrees(counted):
            raise CommandError("Nothing was done; say yes, or --yes.")
        replay = life.begin(scope, frozen, counted, who=account(), reason=reason, rate=options["rate"])
        self.stdout.write(f"Replay {replay.pk} has begun. To end it: manage.py replay --cancel {replay.pk}")
        if options["wait"]:
            self._watch(replay)

    def _show(self, scope: Scope, counted: Counted) -> None:
        for handler, count in counted.by_handler.items():
            self.stdout.write(f"{count:>10,}  {handler}")
        more = "" if counted.is_complete else f" or more: the count stopped after {COUNT_SECONDS:g} s"
        self.stdout.write(f"{counted.total:>10,}  {scope.in_words}{more}")
        if counted.without_payload:
            self.stdout.write(f"{counted.without_payload:>10,}  more are left: their payload has been pruned")

    def _watch(self, replay: Replay) -> None:
        """Show the progress until the end. Ctrl-C ends this command alone."""
        columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
        try:
            with Progress(*columns, console=self._console, transient=True) as shown:
                task = shown.add_task(f"replay {replay.pk}", total=replay.total)
                while not progress_of(replay).has_ended:
                    shown.update(task, completed=progress_of(replay).ended, total=replay.total)
                    time.sleep(LOOK_SECONDS)
                    replay.refresh_from_db()
        except KeyboardInterrupt:
            self.stdout.write(f"Replay {replay.pk} goes on. To end it: manage.py replay --cancel {replay.pk}")
            return
        figures = f"{replay.done:,} succeeded, {replay.failed:,} failed, {replay.skipped:,} skipped"
        self.stdout.write(f"Replay {replay.pk} is {replay.state}: {figures}.")


def _scope(options: dict[str, Any]) -> Scope:
    same = ("handler", "state", "event", "action", "repository", "fingerprint", "since", "until")
    given = {name: options[name] for name in same}
    scope = Scope(**given, is_missing=options["missing"], installation_id=options["installation"])
    try:
        scope.check()
    except ScopeError as error:
        raise CommandError(str(error)) from None
    return scope


def _agrees(counted: Counted) -> bool:
    if not sys.stdin.isatty():
        return False
    more = "" if counted.is_complete else " or more"
    return input(f"Run {counted.total:,}{more}? [y/N] ").strip().lower() in ("y", "yes")


def _moment(given: str) -> datetime:
    at = parse_datetime(given)
    if at is None:
        raise ValueError(given)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _rate(given: str) -> float:
    rate = float(given)
    if not life.LOWEST_RATE <= rate <= life.HIGHEST_RATE:
        raise ValueError(given)
    return rate
