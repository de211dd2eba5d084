"""`manage.py deliveries`: lists deliveries by the filters of the console, or shows one with its timeline."""

import json
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.table import Table
from rich.text import Text

from webhooks.console import narrowing
from webhooks.console.filters import from_parameters
from webhooks.console.keyset import page_of
from webhooks.console.search import NAMES, QUALIFIERS, Search
from webhooks.console.timeline import STATES_ONLY, JobStory, Run, Story, at_a_glance, story_of
from webhooks.durations import relative, took
from webhooks.management import tables
from webhooks.management.migrated import on_migrated_database
from webhooks.management.tables import console_on, printable
from webhooks.models import Delivery, Pull, Recovery

MOST_LISTED = 1_000
ROOM_FOR_GUID, ROOM_FOR_ITS_START = 110, 80
"""From this many columns on, a list shows GUIDs whole, or their first digits."""

SHAPE = f"""\
The search is that of the console: {NAMES}
or a bare number, GUID, owner/repository or event. A number or a GUID alone shows that delivery with its timeline.
Times are in UTC, or ago: --since 2h.

  manage.py deliveries repo:acme/widgets state:dead
  manage.py deliveries --event push --since 30min --format json
  manage.py deliveries 72d3162e-cc78-11e3-81ab-4c9367dc0958

The JSON form is one object: deliveries (with jobs, if one is shown), has_more, and only_newest: among how many of
the newest it looked, null if among all. It never contains payloads.
Exit status: 0, also if none match; or 1 if the search is not understood, or the database does not answer."""


class Command(BaseCommand):
    help = "List deliveries, the newest first; or show one with its jobs and their attempts."
    requires_system_checks = ()
    requires_migrations_checks = False

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=SHAPE, formatter_class=RawDescriptionHelpFormatter, **options
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("search", nargs="*", help="What to look for; see below.")
        for field in dict.fromkeys(each.field for each in QUALIFIERS if each.field != "guid"):
            parser.add_argument(f"--{field}", default="", metavar=field.upper(), help=f"As {field}: in the search.")
        parser.add_argument(
            "--limit", type=int, default=20, help=f"How many at most (default 20, up to {MOST_LISTED})."
        )
        parser.add_argument("--format", choices=["table", "json"], default="table", help="Default table.")

    def handle(self, *, search: Sequence[str], limit: int, format: str, **options: Any) -> None:
        if not 1 <= limit <= MOST_LISTED:
            raise CommandError(f"--limit must be from 1 to {MOST_LISTED}.")
        given = {each.field: options.get(each.field) or "" for each in QUALIFIERS}
        wanted, _ = from_parameters({**given, "q": " ".join(map(_quoted, search))}, now=timezone.now())
        if wanted.problems:
            raise CommandError("\n".join(wanted.problems))
        found = on_migrated_database(lambda: _found(wanted, limit), app="webhooks")
        if format == "json":
            self.stdout.write(json.dumps(found, indent=2, default=str))
            return
        console = console_on(self.stdout)
        for each in _in_words(found, is_one=_is_one(wanted), width=console.width):
            console.print(each)


def _quoted(word: str) -> str:
    """Return one argument of the shell as one word of a search: the shell has taken its quotes away."""
    name, colon, value = word.partition(":")
    return f'{name}:"{value}"' if colon and " " in value and '"' not in value else word


def _is_one(wanted: Search) -> bool:
    """Tell whether nothing but a number or a GUID is asked for."""
    return wanted in (Search(number=wanted.number), Search(guid=wanted.guid)) and not wanted.is_empty


def _found(wanted: Search, limit: int) -> dict[str, Any]:
    found = narrowing.deliveries(wanted)
    rows = found.rows.select_related("source").prefetch_related(STATES_ONLY)
    page = page_of(rows, narrowing.NEWEST_FIRST, size=limit)
    is_one = _is_one(wanted)
    return {
        "deliveries": [_story(story_of(each)) if is_one else _row(each) for each in page.rows],
        "has_more": bool(page.after),
        "only_newest": narrowing.MOST_SEARCHED if found.most_searched else None,
    }


def _row(each: Delivery) -> dict[str, Any]:
    return {
        "delivery": each.pk,
        "guid": str(each.guid),
        "event": each.event,
        "action": each.action,
        "repository": each.repository,
        "sender": each.sender,
        "installation": each.installation_id,
        "source": each.source.name,
        "hook": each.hook_id,
        "received_at": each.received_at.isoformat(),
        "repeats": each.repeats,
        "last_repeat_at": each.last_repeat_at.isoformat() if each.last_repeat_at else None,
        "bytes": each.body_bytes,
        "secret_fingerprint": each.secret_fingerprint,
        "job_states": dict(at_a_glance(each.jobs.all())),
    }


def _story(story: Story) -> dict[str, Any]:
    return {
        **_row(story.delivery),
        "recovery": _recovery(story.recovery),
        "pull": _pull(story.pull),
        "twins": [{"delivery": twin.pk, "hook": twin.hook_id} for twin in story.twins],
        "jobs": [_job(each) for each in story.jobs],
        "has_older_jobs": story.has_older_jobs,
    }


def _pull(found: Pull | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"host": found.host, "source": found.source, "received_at": found.received_at.isoformat(), "who": found.who}


def _recovery(found: Recovery | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "delivered_at": found.delivered_at.isoformat(),
        "duration_seconds": found.duration_seconds,
        "status": found.status,
        "status_code": found.status_code,
        "throttled_at": found.throttled_at.isoformat() if found.throttled_at else None,
        "is_redelivery": found.is_redelivery,
        "pass": found.log_pass_id,
    }


def _job(each: JobStory) -> dict[str, Any]:
    job = each.job
    return {
        "job": job.pk,
        "handler": job.handler,
        "queue": job.queue,
        "state": job.state,
        "attempts_spent": each.attempts_spent,
        "max_attempts": job.max_attempts,
        "next_at": each.next_at.isoformat() if each.next_at else None,
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "result": job.result,
        "error": job.error,
        "changes": [
            {"who": change.who, "what": change.what, "at": change.at.isoformat(), "reason": change.reason}
            for change in each.changes
        ],
        "attempts": [_run(run) for run in each.runs],
        "has_older_attempts": each.has_older_runs,
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "number": run.number,
        "outcome": str(run.outcome),
        "worker": run.worker,
        "pid": run.pid,
        "started_at": run.started_at.isoformat(),
        "waited_seconds": None if run.waited is None else run.waited.total_seconds(),
        "ran_seconds": run.ran.total_seconds(),
        "message": run.message,
    }


def _in_words(found: dict[str, Any], *, is_one: bool, width: int) -> Iterator[Table | Text]:
    rows = found["deliveries"]
    if is_one:
        for each in rows:
            yield from map(_text, _timeline(each))
    elif rows:
        yield _table(rows, width=width)
    if not rows:
        yield _text(
            "None match." if not found["only_newest"] else f"None of the newest {found['only_newest']:,} match."
        )
    elif found["only_newest"]:
        yield _text(f"Only the newest {found['only_newest']:,} were searched.")
    if found["has_more"]:
        yield _text("There are more: --limit shows them.")


def _table(rows: Sequence[dict[str, Any]], *, width: int) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("ID", justify="right", no_wrap=True)
    table.add_column("RECEIVED", no_wrap=True)
    table.add_column("EVENT", overflow="fold")
    table.add_column("REPOSITORY", overflow="fold")
    table.add_column("JOBS")
    if width >= ROOM_FOR_ITS_START:
        table.add_column("GUID", no_wrap=True)
    for row in rows:
        guid = row["guid"] if width >= ROOM_FOR_GUID else f"{row['guid'][:8]}…"
        cells = [row["delivery"], _ago(row["received_at"]), _event(row), row["repository"], _states(row), guid]
        table.add_row(*(_text(str(cell)) for cell in cells[: len(table.columns)]))
    return table


def _timeline(each: dict[str, Any]) -> Iterator[str]:
    yield f"Delivery {each['delivery']}: {_event(each)} {each['repository']}"
    yield f"  GUID       {each['guid']}"
    yield f"  sent by    {each['sender'] or 'unknown'}; source {each['source']}, hook {each['hook']}"
    yield from _coming(each)
    if each["repeats"]:
        yield f"  came again {each['repeats']} times, the last {_at(each['last_repeat_at'])}"
    for twin in each["twins"]:
        yield f"  same event from hook {twin['hook']}: delivery {twin['delivery']}"
    if not each["jobs"]:
        yield "  no jobs"
    for job in each["jobs"]:
        yield from _job_lines(job)
    if each["has_older_jobs"]:
        yield "  … and older jobs"


def _coming(each: dict[str, Any]) -> Iterator[str]:
    """Yield how it came: by itself, from GitHub's log, or from another installation."""
    recovery, pull = each["recovery"], each["pull"]
    if pull is not None:
        yield f"  received   {_at(pull['received_at'])} by {pull['host']}, source {pull['source']}"
        yield f"  pulled     {_at(each['received_at'])} by {pull['who']}; {each['bytes']:,} bytes"
        return
    if recovery is None:
        yield f"  signed     with secret {each['secret_fingerprint']}; {each['bytes']:,} bytes"
        yield f"  received   {_at(each['received_at'])}"
        return
    took = _took(recovery["duration_seconds"])
    yield f"  GitHub     tried {_at(recovery['delivered_at'])}"
    yield f"             {recovery['status'] or 'no status'} ({recovery['status_code']}) after {took}"
    if recovery["throttled_at"]:
        yield f"             held back {_at(recovery['throttled_at'])}"
    yield f"  recovered  {_at(each['received_at'])} from GitHub's log; {each['bytes']:,} bytes"


def _job_lines(job: dict[str, Any]) -> Iterator[str]:
    spent = f"{job['attempts_spent']} of {job['max_attempts']} attempts"
    yield f"  job {job['job']} {job['handler']}: {job['state']}, {spent}, queue {job['queue']}"
    if job["next_at"]:
        yield f"    may run next {_at(job['next_at'])}"
    for change in job["changes"]:
        yield f"    {change['what']} by {change['who']} {_at(change['at'])}: {change['reason'] or 'no reason given'}"
    for run in job["attempts"]:
        waited = "" if run["waited_seconds"] is None else f"waited {_took(run['waited_seconds'])}, "
        yield f"    attempt {run['number']} {run['outcome']}: {waited}ran {_took(run['ran_seconds'])}, {run['worker']}"
        if run["message"]:
            yield f"      {run['message']}"
    if job["has_older_attempts"]:
        yield "    … and older attempts"


def _states(row: dict[str, Any]) -> str:
    return ", ".join(f"{count} {state}" for state, count in row["job_states"].items()) or "none"


def _event(row: dict[str, Any]) -> str:
    return f"{row['event']}.{row['action']}" if row["action"] else str(row["event"])


def _ago(moment: str) -> str:
    return relative(datetime.fromisoformat(moment), now=timezone.now())


def _at(moment: str) -> str:
    return tables.moment(datetime.fromisoformat(moment), now=timezone.now())


def _took(seconds: float) -> str:
    return took(timedelta(seconds=seconds))


def _text(text: str) -> Text:
    return Text(printable(text))
