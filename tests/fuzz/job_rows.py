"""The inbox's rows of jobs, and where they differ from the model."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models.functions import Now

from tests.fuzz.job_model import RUNS, JobModel, Span
from webhooks.models import Attempt, Job

Row = Mapping[str, Any]
"""A job's columns, with `at`, when it was read, and `outcomes`, the numbers and outcomes of its attempts."""


def rows() -> dict[int, Row]:
    """Return the inbox's jobs by their ids."""
    outcomes: dict[int, list[tuple[int, str]]] = {}
    for pk, number, outcome in Attempt.objects.order_by("number").values_list("job_id", "number", "outcome"):
        outcomes.setdefault(pk, []).append((number, outcome))
    jobs = Job.objects.order_by("pk").values(*_COLUMNS, at=Now())
    return {row["pk"]: {**row, "outcomes": outcomes.get(row["pk"], [])} for row in jobs}


_COLUMNS = (
    "pk",
    "state",
    "queue",
    "attempt",
    "max_attempts",
    "handler",
    "started_at",
    "forgiven",
    "lost",
    "budget_from_attempt",
    "budget_from_at",
    "due_at",
    "publish_at",
    "lease_until",
    "finished_at",
    "delivery__guid",
)


def spent(row: Row) -> int:
    """Return how many runs have cost an attempt since the budget began, the current one among them."""
    return int(row["attempt"] - row["budget_from_attempt"] - row["forgiven"] - row["lost"])


def differences(job: JobModel, row: Row, *, slack: timedelta) -> list[str]:
    """Say where a row is not what the model has, moments give or take `slack`."""
    known = job.give_or_take(slack)
    expected = {
        "state": job.state,
        "queue": job.queue,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "forgiven": job.handed_back,
        "lost": job.lost,
        "outcomes": job.rows,
    }
    found = [f"{name} {row[name]!r}, not {value!r}" for name, value in expected.items() if row[name] != value]
    if spent(row) != job.spent + (RUNS in job.outcomes):
        found.append(f"{spent(row)} spent, not {job.spent}")
    moments = {"budget_from_at": known.began, "publish_at": known.publish, "lease_until": known.lease}
    if job.is_running and bool(job.begun) != (row["started_at"] is not None):
        found.append(f"begun {row['started_at']}, not {job.begun} times")
    if job.state == "retrying":
        moments["due_at"] = known.due
    for name, span in moments.items():
        if (row[name] is not None) if span is None else not span.holds(row[name]):
            found.append(f"{name} {row[name]}, not {span}")
    return found


def known(job: JobModel, row: Row) -> JobModel:
    """Return the model with the moments that its row has."""
    return replace(
        job,
        began=_exactly(row["budget_from_at"]),
        due=_exactly(row["due_at"]),
        publish=row["publish_at"] and _exactly(row["publish_at"]),
        lease=row["lease_until"] and _exactly(row["lease_until"]),
    )


def _exactly(moment: datetime) -> Span:
    return Span(moment, moment)
