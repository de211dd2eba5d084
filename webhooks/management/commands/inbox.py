"""`manage.py inbox`: the inbox in numbers, as text for a person or as JSON for a script."""

import json
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.durations import relative, rough
from webhooks.inbox.summary import DEAD_SHOWN, UNFINISHED, DeadJob, InboxSummary, summarise
from webhooks.management.inbox_watch import printable
from webhooks.management.inbox_watch import watch as watch_inbox
from webhooks.management.migrated import on_migrated_database
from webhooks.states import JobState

WIDTH = 100

SHAPE = """\
The JSON form is one object:

  deliveries                 how many there are
  jobs                       jobs by state: queued, running, retrying, succeeded, dead, skipped
  oldest_waiting_seconds     age of the oldest waiting job, null if none waits
  queues                     for each queue: queued, running, retrying, oldest_waiting_seconds
  handlers                   for each handler: jobs by state, and newest_error, why the newest of its dead
                             jobs died (null if none is dead)
  dead                       the newest 20 dead jobs: job, handler, delivery (its GUID), attempts, error, finished_at

A job waits if it is queued, or retrying and due. Its age counts from when it was due, by the database's clock.
Every job is counted, which takes PostgreSQL about two seconds at ten million.
With --watch it reads no more than some thousand rows of each index, and shows rates instead of totals.
Exit status: 0, or 1 if the database does not answer or is not migrated."""


class Command(BaseCommand):
    help = "Print what is in the inbox: jobs by state, queue and handler, how long the oldest waits, and the dead."
    requires_system_checks = ()
    requires_migrations_checks = False

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=SHAPE, formatter_class=RawDescriptionHelpFormatter, **options
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=["text", "json"], default="text", help="Default text.")

        parser.add_argument(
            "--watch",
            action="store_true",
            help="Show rates, queues and workers every two seconds until q or Ctrl-C, with cheap queries only.",
        )

    def handle(self, *, format: str, watch: bool, **options: Any) -> None:
        if watch and format == "json":
            raise CommandError("--watch is for people; leave --format json away.")
        if watch:
            self.stdout.ending = ""  # The picture has its own line ends.
            watch_inbox(cast(IO[str], self.stdout))
            return
        # The programs may run with other HOOKLINE_APPS than this command.
        summary = on_migrated_database(summarise, app="webhooks")
        if format == "json":
            self.stdout.write(json.dumps(as_json(summary), indent=2))
            return
        for line in as_text(summary):
            self.stdout.write(line)


def as_json(summary: InboxSummary) -> dict[str, Any]:
    return {
        "deliveries": summary.deliveries,
        "jobs": {state.value: count for state, count in summary.jobs.states.items()},
        "oldest_waiting_seconds": summary.waiting_seconds(summary.jobs),
        "queues": {
            name: {
                **{state.value: counts.states[state] for state in UNFINISHED},
                "oldest_waiting_seconds": summary.waiting_seconds(counts),
            }
            for name, counts in summary.queues.items()
        },
        "handlers": {
            name: {
                **{state.value: count for state, count in counts.states.items()},
                "newest_error": summary.newest_errors.get(name),
            }
            for name, counts in summary.handlers.items()
        },
        "dead": [
            {
                "job": dead.job,
                "handler": dead.handler,
                "delivery": dead.delivery,
                "attempts": dead.attempts,
                "error": dead.error,
                "finished_at": dead.finished_at.isoformat(),
            }
            for dead in summary.dead
        ],
    }


def as_text(summary: InboxSummary) -> Iterator[str]:
    """Yield lines of at most WIDTH columns."""
    yield from _headline(summary)
    yield ""
    yield from _table(["STATE", "JOBS"], [[state.value, f"{n:,}"] for state, n in summary.jobs.states.items()])
    yield ""
    yield from _table(["QUEUE", *_upper(UNFINISHED), "OLDEST WAITING"], list(_queue_rows(summary)))
    yield ""
    yield from _table(["HANDLER", *_upper(JobState)], list(_handler_rows(summary)))
    if summary.dead:
        yield ""
        yield from _dead(summary)


def _headline(summary: InboxSummary) -> Iterator[str]:
    states, waiting = summary.jobs.states, summary.waiting_seconds(summary.jobs)
    age = "none waiting" if waiting is None else f"the oldest has waited {rough(timedelta(seconds=waiting))}"
    yield f"The inbox at {summary.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC:"
    yield f"{summary.deliveries:,} deliveries, {sum(states.values()):,} jobs; {age}; {states[JobState.DEAD]:,} dead."


def _queue_rows(summary: InboxSummary) -> Iterator[list[str]]:
    for name, counts in summary.queues.items():
        waiting = summary.waiting_seconds(counts)
        age = "-" if waiting is None else rough(timedelta(seconds=waiting))
        yield [name, *(f"{counts.states[state]:,}" for state in UNFINISHED), age]


def _handler_rows(summary: InboxSummary) -> Iterator[list[str]]:
    for name, counts in summary.handlers.items():
        yield [name, *(f"{count:,}" for count in counts.states.values())]


def _dead(summary: InboxSummary) -> Iterator[str]:
    """Yield the newest dead jobs, each with its error on a line of its own."""
    total = summary.jobs.states[JobState.DEAD]
    yield f"DEAD: all {total}" if total <= DEAD_SHOWN else f"DEAD: the newest {DEAD_SHOWN} of {total:,}"
    rows = [_dead_row(dead, summary.at) for dead in summary.dead]
    header, *lines = _table(["HANDLER", "JOB", "RUNS", "ENDED", "DELIVERY"], rows)
    yield header
    for line, dead in zip(lines, summary.dead, strict=True):
        yield line
        yield _shortened(f"    {printable(dead.error)}", WIDTH)


def _dead_row(dead: DeadJob, now: datetime) -> list[str]:
    return [dead.handler, f"#{dead.job}", f"{dead.attempts:,}", relative(dead.finished_at, now=now), dead.delivery]


def _upper(states: Iterable[JobState]) -> list[str]:
    return [state.value.upper() for state in states]


def _table(header: list[str], rows: Sequence[list[str]]) -> Iterator[str]:
    """Yield aligned lines: names to the left, shortened if they must be, and numbers to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns[1:]]
    room = WIDTH - sum(widths) - 2 * len(widths)
    names = [_shortened(printable(name), room) for name in columns[0]]
    longest = max(map(len, names))
    for name, cells in zip(names, zip(*columns[1:], strict=True), strict=True):
        yield "  ".join([name.ljust(longest), *map(str.rjust, cells, widths)])


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
