"""`manage.py jobs run-again | retry-now | give-up`: change the jobs that filters find, after a confirmation."""

import json
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils import timezone

from webhooks.console import filters, job_search
from webhooks.console.search import NAMES, QUALIFIERS
from webhooks.console.selection import scope_of
from webhooks.inbox.operations import (
    BY_NAME,
    Asked,
    Fixed,
    Forecast,
    Operation,
    carry_out,
    fixed_now,
    forecast,
    in_number,
    in_words,
)
from webhooks.management.account import account
from webhooks.management.migrated import on_migrated_database
from webhooks.management.tables import console_on, table
from webhooks.models import Job

FILTERS = f"""\
Filters are those of the console's list of jobs. As words: {NAMES}
or a bare job number or GUID; or as options. They must name a state, a job or a GUID:
without one, they would reach every job there ever was.

  manage.py jobs run-again state:dead handler:acme.greet since:2h --reason "the mail server is back"
  manage.py jobs give-up --job 12 --job 13 --reason "no longer wanted"

What is created, or ends, after the question is not changed. Nothing is changed without --reason.
Exit status: 0, or 1 if nothing was asked for, the answer was no, or the database does not answer."""


class Command(BaseCommand):
    help = "Run jobs again, let them be retried now, or give them up, after showing exactly how many."
    requires_system_checks = ()
    requires_migrations_checks = False

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=FILTERS, formatter_class=RawDescriptionHelpFormatter, **options
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("operation", choices=[name.replace("_", "-") for name in BY_NAME])
        parser.add_argument("search", nargs="*", metavar="FILTER", help="As in the console's search box.")
        parser.add_argument("--job", type=int, action="append", default=[], metavar="ID", help="May be repeated.")
        for each in QUALIFIERS:
            parser.add_argument(f"--{each.name}", dest=each.field, default="", metavar=each.name.upper())
        parser.add_argument("--reason", required=True, help="Why: it stays in the audit log, with your account.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        parser.add_argument("--format", choices=["text", "json"], default="text", help="Default text.")

    def handle(self, *, operation: str, reason: str, format: str, **options: Any) -> None:
        if not reason.strip():
            raise CommandError("--reason: say why in a few words.")
        if format == "json" and not options["yes"]:
            raise CommandError("With --format json there is nobody to ask: give --yes too.")
        wanted = BY_NAME[operation.replace("-", "_")]
        jobs, scope, most = on_migrated_database(lambda: selected(options), app="webhooks")
        fixed = fixed_now()
        expected = forecast(wanted, fixed.within(jobs) if fixed else jobs)
        if format == "text":
            self._show(expected, most)
        if fixed is None or not expected.changing or not (options["yes"] or self._agreed(expected)):
            if format == "json":
                self.stdout.write(json.dumps({"changed": 0, "left": _left(expected)}))
                return
            raise CommandError("Nothing was changed.")
        changed = self._carry_out(
            wanted, jobs, fixed=fixed, asked=Asked(who=account(), scope=scope, reason=reason.strip())
        )
        if format == "json":
            self.stdout.write(json.dumps({"changed": changed, "left": _left(expected)}))
        else:
            self.stdout.write(in_words(wanted, changed, left=expected.left_after(changed)))

    def _show(self, expected: Forecast, most_searched: str) -> None:
        rows = [
            [part.handler, part.state, f"{part.count:,}", f"left: {part.refusal}" if part.refusal else "yes"]
            for part in expected.parts
        ]
        if rows:
            console_on(self.stdout).print(table(["handler", "state", "jobs", "changed"], rows, numbers=(2,)))
        if most_searched:
            self.stdout.write(f"Only the first {most_searched} jobs of the list were searched; there may be more.")
        text = f"{expected.changing_in_words} will be {expected.operation.done}. {expected.sentence_on_left}"
        self.stdout.write(text.strip())

    def _agreed(self, expected: Forecast) -> bool:
        try:
            answer = input(f"{expected.operation.label}: {in_number(expected.changing)}? [y/N] ")
        except EOFError:
            return False
        return answer.strip().lower() in ("y", "yes")

    def _carry_out(self, wanted: Operation, jobs: QuerySet[Job], *, fixed: Fixed, asked: Asked) -> int:
        """Change all of the selection, in as many parts as it takes; say how far it is after each."""
        changed, reached = 0, fixed.after
        while True:
            done = carry_out(wanted, fixed.from_there(reached).within(jobs), asked=asked)
            changed += done.changed
            if done.reached is None:
                return changed
            reached = done.reached
            self.stderr.write(f"{changed:,} so far")


def selected(options: dict[str, Any]) -> tuple[QuerySet[Job], str, str]:
    """Return the jobs that the arguments name, what was named in words, and among how many only they were searched."""
    words = {each.field: options[each.field] for each in QUALIFIERS if options[each.field]}
    wanted, _ = filters.from_parameters({"q": " ".join(options["search"]), **words}, now=timezone.now())
    if wanted.problems:
        raise CommandError(" ".join(wanted.problems))
    if chosen := options["job"]:
        if not wanted.is_empty:
            raise CommandError("Give either --job or filters.")
        return Job.objects.filter(pk__in=chosen), scope_of(ids=chosen), ""
    found = job_search.jobs(wanted)
    if not found.may_act_on_all:
        raise CommandError("Name a state, a job or a GUID: without one, this would reach every job there ever was.")
    return found.jobs, scope_of(search=wanted), found.narrowed.most_searched


def _left(expected: Forecast) -> list[dict[str, Any]]:
    return [{"state": state, "reason": reason, "count": count} for (state, reason), count in expected.left.items()]
