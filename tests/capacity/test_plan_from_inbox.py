"""`manage.py plan_capacity` with times and jobs that are read from the inbox."""

from datetime import timedelta

import pytest
from django.core.management.base import CommandError
from django.utils import timezone

from tests.capacity.test_plan_capacity import by_name, planned, told
from tests.support.inbox_rows import make_job
from webhooks.inbox import measured
from webhooks.models import Attempt, Job
from workers.capacity.jobs import VARIES

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_without_any_run_it_says_how_to_give_times() -> None:
    with pytest.raises(CommandError, match=r"The inbox has no runs to take handlers' times from: give --handler-s"):
        told("--burst", "10")


def test_without_any_job_it_says_how_to_give_a_burst() -> None:
    with pytest.raises(CommandError, match=r"The inbox has no jobs of that time: give --burst or --rate"):
        told("--handler-seconds", "1")


def test_a_time_that_is_none_is_said() -> None:
    with pytest.raises(CommandError, match=r"--since: “yesterday” is no time"):
        told("--handler-seconds", "1", "--since", "yesterday")


def test_times_and_jobs_of_the_inbox_are_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    now = timezone.now()
    for number in range(30):
        job = make_job()
        Job.objects.filter(pk=job.pk).update(created_at=now - timedelta(minutes=30, seconds=-number))
        Attempt.objects.create(
            job=job, number=1, worker="w", pid=7, started_at=now, finished_at=now + timedelta(seconds=2),
            outcome="succeeded",
        )  # fmt: skip
    plan = planned("--since", "2h", "--times", "3")
    assert (plan["jobs"], plan["longest_run_seconds"]) == (90, pytest.approx(2.0, rel=VARIES))
    assert by_name(plan)["fixed:1"]["wait_longest_seconds"] == 0
    assert by_name(planned("--times", "3", "--concurrency", "1"))["fixed:1"]["wait_longest_seconds"] > 100
    text = told("--times", "3")
    assert "Handlers: 30 measured runs of 1 handler." in text
    assert "Jobs: 30 of the inbox, from " in text
    assert "Assumed: handlers compute for 20% of their time, and wait else (--cpu-share)." in text
    monkeypatch.setattr(measured, "MOST_JOBS", 10)
    assert "Note: only the first 10 jobs of that time are used" in told()
