"""Issues: how failures are grouped and counted, by which index, and what operators do to a group."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.inbox_rows import make_delivery, make_job, state_of
from webhooks.inbox import counts, issue_actions, issues, transitions
from webhooks.inbox.operations import GIVE_UP, RUN_AGAIN
from webhooks.inbox.outcomes import Outcome
from webhooks.inbox.transitions import Ended
from webhooks.models import Change, ChangedJob, IssueMark, Job, Release
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.subscription import Backoff

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

A, B, C = "a" * 16, "b" * 16, "c" * 16


def dead(fingerprint: str = A, *, minutes: float = 10, **columns: Any) -> Job:
    """Store a job that died so many minutes ago."""
    ended = timezone.now() - timedelta(minutes=minutes)
    usual: dict[str, Any] = {"error": "no", "attempt": 5, "finished_at": ended}
    return make_job(JobState.DEAD, fingerprint=fingerprint, **usual | columns)


def failing(fingerprint: str, **columns: Any) -> Job:
    usual: dict[str, Any] = {"error": "no", "attempt": 1, "claimed_at": timezone.now()}
    return make_job(JobState.RETRYING, fingerprint=fingerprint, **usual | columns)


def keys(state: str = "open", limit: int = 10) -> list[str]:
    return [issue.key for issue in issues.issues_in(state, limit=limit).shown]


def test_dead_jobs_are_grouped_by_fingerprint_and_the_last_seen_group_comes_first() -> None:
    old = dead(A, minutes=90)
    newest = dead(A, minutes=30, error="newest")
    dead(A, minutes=60)
    dead(B, minutes=5)
    make_job(JobState.SUCCEEDED, fingerprint=C)
    assert keys() == [B, A]
    [_, issue] = issues.open_issues(limit=10).shown
    assert (issue.dead.count, issue.error, issue.sample_job_id) == (3, "newest", newest.pk)
    assert (issue.first_at, issue.last_at) == (old.finished_at, newest.finished_at)


def test_failing_jobs_count_with_the_dead_and_are_an_issue_of_their_own_too() -> None:
    dead(A)
    failing(A)
    only = failing(B, error="soon")
    make_job(JobState.RETRYING, fingerprint="")  # It asked to run later, and has not failed.
    assert sorted(keys()) == [A, B]
    found = {issue.key: issue for issue in issues.open_issues(limit=10).shown}
    assert (found[A].dead.count, found[A].failing.count, found[A].count.count) == (1, 1, 2)
    assert (found[B].dead.count, found[B].failing.count, found[B].error) == (0, 1, "soon")
    assert found[B].sample_job_id == only.pk
    assert found[B].first_goes_at is None


def test_an_issue_names_the_release_under_which_it_began() -> None:
    now = timezone.now()
    for name, minutes in (("1.0", 90), ("2.0", 30), ("3.0", 5)):
        Release.objects.create(name=name, first_seen_at=now - timedelta(minutes=minutes))
    dead(A, minutes=20)
    dead(A, minutes=1)
    dead(B, minutes=45)
    dead(C, minutes=200)
    failing("d" * 16)
    found = {issue.fingerprint: issue.release for issue in issues.open_issues(limit=10).shown}
    assert found == {A: "2.0", B: "1.0", C: "", "d" * 16: "3.0"}
    alone = issues.issue_of(A)
    assert alone is not None
    assert alone.release == "2.0"


def test_where_nothing_failed_there_is_no_issue() -> None:
    make_job(JobState.QUEUED)
    make_job(JobState.SUCCEEDED)
    assert issues.issues_in("open", limit=5) == issues.Issues([], 0, is_complete=True)
    assert issues.issue_of(A) is None


def test_jobs_of_older_releases_without_a_fingerprint_are_one_issue() -> None:
    dead("")
    dead("")
    [issue] = issues.open_issues(limit=10).shown
    assert (issue.key, issue.fingerprint, issue.dead.count) == ("none", "", 2)


@pytest.mark.parametrize("kind", [AttemptOutcome.GAVE_UP, AttemptOutcome.RETRY_LATER])
def test_a_job_that_dies_without_an_exception_gets_a_fingerprint_of_its_message(kind: AttemptOutcome) -> None:
    found = set()
    for handler, message in (("shop.count", "archived"), ("shop.count", "archived"), ("shop.bill", "archived")):
        job = make_job(JobState.QUEUED, handler=handler, max_attempts=1)
        claimed = transitions.claim(job.pk, worker="w", lease_seconds=30, handler=handler)
        assert claimed is not None
        outcome = Outcome(kind=kind, message=message)
        transitions.record(Ended(job=claimed, outcome=outcome, backoff=Backoff(), age_seconds=10**9, worker="w"))
        job.refresh_from_db()
        assert job.state == JobState.DEAD
        found.add((handler, job.fingerprint))
    assert len(found) == 2
    assert all(len(fingerprint) == 16 for _, fingerprint in found)


def test_jobs_whose_handler_is_gone_are_an_issue_for_each_handler() -> None:
    for handler in ("gone.one", "gone.two"):
        jobs = [make_job(JobState.QUEUED, handler=handler).pk for _ in range(2)]
        transitions.end_without_run(jobs, reason=f"No installed app has a handler named {handler}.")
    assert sorted((issue.handler, issue.dead.count) for issue in issues.open_issues(limit=10).shown) == [
        ("gone.one", 2),
        ("gone.two", 2),
    ]


@pytest.mark.parametrize("state", ["acknowledged", "ignored"])
def test_a_marked_issue_stays_so_however_it_grows_until_it_is_opened_again(state: str) -> None:
    dead(A)
    issue_actions.mark(A, state, note="known, see the ticket", who="ana")
    dead(A, minutes=1)
    assert (keys(), keys(state)) == ([], [A])
    [issue] = issues.issues_in(state, limit=5).shown
    assert (issue.dead.count, issue.note, issue.marked_by) == (2, "known, see the ticket", "ana")
    issue_actions.mark(A, "open", note="", who="bo")
    assert (keys(), keys(state)) == ([A], [])
    assert list(Change.objects.order_by("id").values_list("action", "who", "scope", "reason")) == [
        (f"mark_{state}", "ana", f"issue {A}", "known, see the ticket"),
        ("mark_open", "bo", f"issue {A}", ""),
    ]


def test_a_list_is_limited_and_tells_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for minutes, fingerprint in enumerate((A, B, C), start=1):
        dead(fingerprint, minutes=minutes)
    found = issues.issues_in("open", limit=2)
    assert ([issue.key for issue in found.shown], found.count, found.is_complete) == ([A, B], 3, True)
    monkeypatch.setattr(issues, "MOST_ISSUES", 2)
    assert not issues.issues_in("open", limit=2).is_complete


def test_a_count_is_capped_and_first_and_last_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    first = dead(A, minutes=99)
    for minutes in range(5, 0, -1):
        last = dead(A, minutes=minutes)
    monkeypatch.setattr(counts, "MOST_COUNTED", 3)
    monkeypatch.setattr(counts, "FEW", 2)
    [issue] = issues.issues_in("open", limit=10).shown
    assert str(issue.dead) == "more than 3"
    [issue] = issues.open_issues(limit=10).shown
    assert str(issue.dead) == "more than 2"
    assert (issue.first_at, issue.last_at) == (first.finished_at, last.finished_at)


def test_a_canary_is_the_newest_that_can_run_and_the_others_stay() -> None:
    dead(A, minutes=1, delivery=make_delivery(body=None))
    newest, older = dead(A, minutes=5), dead(A, minutes=9)
    assert issue_actions.retry_one(A, who="ana") == newest.pk
    assert (state_of(newest), state_of(older)) == ("queued", "dead")
    [change] = Change.objects.all()
    assert (change.action, change.who, change.count) == ("retry_canary", "ana", 1)
    assert list(ChangedJob.objects.values_list("job", flat=True)) == [newest.pk]
    issue = issues.issue_of(A)
    assert issue is not None
    canary = issue_actions.canary_of(issue.canary_job_id, last_at=issue.last_at)
    assert canary is not None
    assert (canary.job.pk, canary.is_under_way, canary.has_succeeded) == (newest.pk, True, False)


def test_a_canary_says_nothing_of_jobs_that_died_after_it() -> None:
    dead(A, minutes=9)
    job = issue_actions.retry_one(A, who="ana")
    dead(A, minutes=20)
    assert job is not None
    Job.objects.filter(pk=job).update(state=JobState.SUCCEEDED, finished_at=timezone.now() - timedelta(minutes=8))

    def has_succeeded() -> bool:
        issue = issues.issue_of(A)
        assert issue is not None
        canary = issue_actions.canary_of(issue.canary_job_id, last_at=issue.last_at)
        return canary is not None and canary.has_succeeded

    assert has_succeeded()
    dead(A, minutes=1)
    assert not has_succeeded()
    Job.objects.filter(pk=job).delete()
    assert not has_succeeded()


def test_a_group_is_changed_as_it_was_asked_about_and_stands_in_the_audit_job_by_job() -> None:
    group = [dead(A, minutes=minutes) for minutes in (9, 8)]
    pruned, other = dead(A, minutes=7, delivery=make_delivery(body=None)), dead(B)
    asked_at = timezone.now() - timedelta(minutes=5)
    late = dead(A, minutes=1)
    done = issue_actions.act_on_group(
        RUN_AGAIN, issue_actions.group(A, until=asked_at), fingerprint=A, who="ana", reason="it is back"
    )
    assert done.changed == 2
    assert [state_of(job) for job in (*group, pruned, other, late)] == ["queued", "queued", "dead", "dead", "dead"]
    [change] = Change.objects.all()
    assert (change.action, change.who, change.reason, change.count) == ("run_again", "ana", "it is back", 2)
    assert set(change.jobs.values_list("job", flat=True)) == {job.pk for job in group}
    given_up = issue_actions.act_on_group(
        GIVE_UP, issue_actions.group(A, until=timezone.now()), fingerprint=A, who="ana", reason="never mind"
    )
    assert given_up.changed == 2
    assert [state_of(job) for job in (*group, pruned, other, late)] == [
        "queued",
        "queued",
        "skipped",
        "dead",
        "skipped",
    ]


def test_a_group_of_which_nothing_can_change_leaves_no_trace() -> None:
    dead(A, delivery=make_delivery(body=None))
    jobs = issue_actions.group(A, until=timezone.now())
    assert issue_actions.act_on_group(RUN_AGAIN, jobs, fingerprint=A, who="ana", reason="r").changed == 0
    assert issue_actions.retry_one(A, who="ana") is None
    assert not Change.objects.exists()
    assert not IssueMark.objects.exists()


def test_the_dead_are_found_by_their_index_and_the_failing_by_theirs() -> None:
    for number in range(40):
        dead(f"{number % 4:016}")
        failing(f"{number % 4:016}")
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    with CaptureQueriesContext(connection) as asked:
        issues.open_issues(limit=3)
    plans = [plan_of(each["sql"]) for each in asked if "webhooks_job" in each["sql"]]
    assert len(plans) == 2 + 2 * 3
    for plan in plans:
        assert "job_issue" in plan or "job_retrying" in plan, plan
        assert "Seq Scan on webhooks_job" not in plan, plan


def plan_of(statement: str) -> str:
    prefix = "EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
    with connection.cursor() as cursor:
        cursor.execute(prefix + statement)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def told(**options: Any) -> str:
    out = StringIO()
    call_command("dead", stdout=out, **options)
    return out.getvalue()


def test_the_command_lists_the_issues_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert told() == "No issue is open.\n"
    job = dead(A, handler="shop.count", error="[red]ValueError\x1b: no " + "long " * 30)
    text = told()
    assert A in text
    assert "[red]ValueError·" in text
    assert all(len(line) <= 60 for line in text.splitlines())
    [issue] = json.loads(told(format="json"))
    assert (issue["issue"], issue["handler"], issue["dead"], issue["failing"]) == (A, "shop.count", 1, 0)
    assert (issue["sample_job"], issue["counts_are_exact"]) == (job.pk, True)
    assert json.loads(told(format="json", state="ignored")) == []
    dead(B)
    assert "The 1 seen last of 2." in told(limit=1)
