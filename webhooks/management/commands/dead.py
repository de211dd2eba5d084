"""`manage.py dead`: dead and failing jobs grouped into issues, as a table for a person or as JSON for a script."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.table import Table
from rich.text import Text

from webhooks.durations import relative
from webhooks.inbox.issues import Issue, Issues, issues_in
from webhooks.management.migrated import on_migrated_database
from webhooks.models import IssueMark

NOT_ALL = "There are too many to look at all of them."


class Command(BaseCommand):
    help = "List what failed: dead and failing jobs grouped by handler and error, the last seen first."
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=["text", "json"], default="text", help="Default text.")
        parser.add_argument("--state", choices=IssueMark.State.values, default="open", help="Default open.")
        parser.add_argument("--limit", type=int, default=20, help="How many issues at most. Default 20.")

    def handle(self, *, format: str, state: str, limit: int, **options: Any) -> None:
        found = on_migrated_database(lambda: issues_in(state, limit=max(1, limit)), app="webhooks")
        if format == "json":
            self.stdout.write(json.dumps([_as_json(issue) for issue in found.shown], indent=2))
        elif found.shown:
            self._print(found)
        elif found.is_complete:
            self.stdout.write(f"No issue is {state}.")
        else:
            self.stdout.write(f"None of those that were looked at is {state}. {NOT_ALL}")

    def _print(self, found: Issues) -> None:
        table = Table.grid(padding=(0, 2))
        for issue in found.shown:
            last = relative(issue.last_at, now=timezone.now()) if issue.last_at else ""
            table.add_row(issue.key, f"{issue.dead} dead", f"{issue.failing} failing", last)
        lines = _lines(table)
        for issue, line in zip(found.shown, lines, strict=True):
            self.stdout.write(line.rstrip())
            # As text: an error may hold what rich would take for its markup, or control the terminal.
            for part in _lines(Text(_printable(f"{issue.handler}: {issue.error}")), width=_width() - 2):
                self.stdout.write(f"  {part.rstrip()}")
        if found.count > len(found.shown):
            self.stdout.write(f"The {len(found.shown)} seen last of {found.count}.")
        if not found.is_complete:
            self.stdout.write(NOT_ALL)


def _width() -> int:
    return Console().width


def _lines(printed: Table | Text, *, width: int | None = None) -> list[str]:
    console = Console(width=width or _width(), color_system=None)
    with console.capture() as captured:
        console.print(printed, soft_wrap=isinstance(printed, Table))
    return captured.get().splitlines()


def _as_json(issue: Issue) -> dict[str, Any]:
    return {
        "issue": issue.key,
        "handler": issue.handler,
        "error": issue.error,
        "state": str(issue.state),
        "note": issue.note,
        "dead": issue.dead.count,
        "failing": issue.failing.count,
        "counts_are_exact": issue.dead.is_exact and issue.failing.is_exact,
        "first_at": issue.first_at.isoformat() if issue.first_at else None,
        "release": issue.release or None,
        "last_at": issue.last_at.isoformat() if issue.last_at else None,
        "sample_job": issue.sample_job_id,
    }


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "·" for character in text)
