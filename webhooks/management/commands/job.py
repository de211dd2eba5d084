"""`manage.py job ID`: one job, why it waits, its attempts and what people changed, as text or as JSON."""

import json
import textwrap
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from webhooks.console.timeline import JobStory, story_of_job
from webhooks.durations import took
from webhooks.inbox.waiting_facts import explain
from webhooks.inbox.waiting_values import Waiting
from webhooks.management.migrated import on_migrated_database
from webhooks.management.tables import console_on, moment, printable, table
from webhooks.models import Job

RUNS_SHOWN = 20


class Command(BaseCommand):
    help = "Print one job: its state, why it waits or who runs it, its attempts, and what people changed."
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", type=int, metavar="ID", help="The job's number.")
        parser.add_argument("--traceback-of-last", action="store_true", help="Print the newest attempt's traceback.")
        parser.add_argument("--format", choices=["text", "json"], default="text", help="Default text.")

    def handle(self, *, job: int, format: str, **options: Any) -> None:
        story, waiting = on_migrated_database(lambda: read(job), app="webhooks")
        if format == "json":
            self.stdout.write(json.dumps(as_json(story, waiting), indent=2))
            return
        console = console_on(self.stdout)
        for line in as_lines(story, waiting, now=timezone.now()):
            console.print(line, soft_wrap=False)
        if story.runs:
            console.print(runs_table(story))
        if options["traceback_of_last"] and story.runs:
            for line in story.runs[0].traceback.splitlines():
                console.print(printable(line))


def read(pk: int) -> tuple[JobStory, Waiting | None]:
    """Read a job and why it waits. Raises CommandError if there is none of this number."""
    found = Job.objects.filter(pk=pk).select_related("delivery").defer("delivery__headers").first()
    if found is None:
        raise CommandError(f"There is no job {pk}.")
    return story_of_job(found, most_runs=RUNS_SHOWN), explain(found)


def as_json(story: JobStory, waiting: Waiting | None) -> dict[str, Any]:
    job = story.job
    return {
        "job": job.pk,
        "handler": job.handler,
        "queue": job.queue,
        "state": job.state,
        "waiting": waiting.sentence if waiting else None,
        "delivery": str(job.delivery.guid),
        "event": job.delivery.event,
        "repository": job.delivery.repository,
        "attempts_spent": story.attempts_spent,
        "max_attempts": job.max_attempts,
        "created_at": job.created_at.isoformat(),
        "due_at": job.due_at.isoformat(),
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "result": job.result,
        "error": job.error,
        "fingerprint": job.fingerprint,
        "attempts": [
            {
                "number": run.number,
                "outcome": run.outcome,
                "worker": run.worker,
                "pid": run.pid,
                "started_at": run.started_at.isoformat(),
                "waited_seconds": _in_seconds(run.waited),
                "ran_seconds": _in_seconds(run.ran),
                "message": run.message,
                "traceback": run.traceback,
            }
            for run in story.runs
        ],
        "changes": [
            {"who": change.who, "action": change.what, "at": change.at.isoformat(), "reason": change.reason}
            for change in story.changes
        ],
    }


def _in_seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else round(duration.total_seconds(), 3)


def as_lines(story: JobStory, waiting: Waiting | None, *, now: datetime) -> Iterator[str]:
    """Yield the job in lines, without its attempts."""
    job = story.job
    yield f"job {job.pk}: {printable(job.handler)} is {job.state}"
    if waiting:
        yield f"  {printable(waiting.sentence)}"
    event = f"{job.delivery.event}.{job.delivery.action}" if job.delivery.action else job.delivery.event
    for name, value in (
        ("error", job.error),
        ("result", job.result),
        ("queue", job.queue),
        ("attempts", f"{story.attempts_spent} of {job.max_attempts} spent, run {job.attempt}"),
        ("delivery", f"{job.delivery.guid}"),
        ("event", f"{event} {job.delivery.repository}".strip()),
        ("created", moment(job.created_at, now=now)),
        ("ended" if job.finished_at else "due", moment(job.finished_at or job.due_at, now=now)),
        ("fingerprint", job.fingerprint),
    ):
        if value:
            yield f"  {name:<12}{printable(value)}"
    for change in story.changes:
        text = f"  {change.who}: {change.what}, {moment(change.at, now=now)}, {change.reason}"
        yield textwrap.shorten(printable(text), 300)


def runs_table(story: JobStory) -> Any:
    rows = [
        [
            str(run.number),
            run.outcome,
            took(run.waited) if run.waited is not None else "-",
            took(run.ran),
            run.worker,
            run.message,
        ]
        for run in story.runs
    ]
    return table(["run", "outcome", "waited", "ran", "worker", "message"], rows, numbers=(0, 2, 3))
