"""Why a job waits: the sentence for each case from values alone, and from the rows of the inbox."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.inbox_rows import make_delivery, make_job
from webhooks.inbox import due, transitions, waiting_facts, workers
from webhooks.inbox.outcomes import LOST_ALLOWANCE
from webhooks.inbox.waiting import why
from webhooks.inbox.waiting_facts import explain
from webhooks.inbox.waiting_values import MOST_AHEAD, Claim, Facts, Fleet, Held, Kind
from webhooks.models import Attempt, Job, Pause, WorkerReport
from webhooks.states import AttemptOutcome, JobState
from webhooks.subscriptions.installed import installed_subscriptions

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
READY = Fleet(reporting=3, ready=3, slots=12, free_slots=2)
QUEUED = Facts(
    now=NOON, state="queued", handler="shop.count", queue="default", publish_at=NOON - timedelta(seconds=2), spent=0,
    max_attempts=5, handler_queue="default", fleet=READY,
)  # fmt: skip
NOT_DUE = replace(QUEUED, state="retrying", publish_at=NOON + timedelta(minutes=4), spent=2, last_outcome="failed")
CLAIM = Claim(
    worker="w1@pod-x", since=NOON - timedelta(seconds=20), lease_until=NOON + timedelta(seconds=40), limit_seconds=60.0,
    silent_seconds=5.0,
)  # fmt: skip
RUNNING = replace(QUEUED, state="running", publish_at=None, claim=CLAIM)
PAUSED = Held(what="queue default", who="ana", since=NOON.replace(hour=10, minute=2), reason="GitHub outage")


def running(**values: Any) -> Facts:
    return replace(RUNNING, claim=replace(CLAIM, **values))


# --- From values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "kind", "sentence"),
    [
        (NOT_DUE, Kind.NOT_DUE, "Due in 4 min, after attempt 2 of 5 failed."),
        (replace(NOT_DUE, last_outcome="hard_limit"), Kind.NOT_DUE,
         "Due in 4 min, after attempt 2 of 5 reached its hard time limit."),
        (replace(NOT_DUE, last_outcome="lost", spent=0), Kind.NOT_DUE,
         "Due in 4 min, after a run was lost with its worker; 0 of 5 attempts are spent."),
        (replace(NOT_DUE, last_outcome="retry_later"), Kind.NOT_DUE,
         "Due in 4 min, after a run asked to run later; 2 of 5 attempts are spent."),
        (replace(NOT_DUE, last_outcome=""), Kind.NOT_DUE, "Due in 4 min."),
        (replace(QUEUED, held=PAUSED), Kind.PAUSED,
         "The queue default is paused by ana since 10:02 UTC (“GitHub outage”); its jobs wait until somebody resumes"
         " it."),
        (replace(NOT_DUE, held=replace(PAUSED, what="handler shop.count", since=NOON - timedelta(days=1))), Kind.PAUSED,
         "The handler shop.count is paused by ana since 2026-05-03 12:00 UTC (“GitHub outage”); and this job is due in"
         " 4 min, after attempt 2 of 5 failed."),
        (replace(QUEUED, handler_queue=None), Kind.NO_HANDLER,
         "No installed app has a handler named shop.count: no worker takes it, and if that stays so, a relay ends it as"
         " dead."),
        (replace(QUEUED, handler_queue="slow"), Kind.MOVING,
         "It waits in the queue default, and its handler now has the queue slow: a relay moves it there within"
         " seconds."),
        (replace(QUEUED, fleet=Fleet(reporting=3)), Kind.NO_CONSUMER,
         "Nobody consumes the queue default: none of the 3 workers that report takes its jobs."),
        (replace(QUEUED, fleet=Fleet(reporting=1)), Kind.NO_CONSUMER,
         "Nobody consumes the queue default: the one worker that reports takes none of its jobs."),
        (replace(QUEUED, fleet=Fleet()), Kind.NO_CONSUMER,
         "Nobody is known to consume the queue default: no worker has reported lately."),
        (replace(QUEUED, ahead=312, jobs_a_second=40.2), Kind.BEHIND_OTHERS,
         "312 jobs of this queue are older, and 3 workers take about 40 a second, so about 7 s."),
        (replace(QUEUED, ahead=1, fleet=replace(READY, ready=1, slots=1)), Kind.BEHIND_OTHERS,
         "1 job of this queue is older, and 1 worker takes them, with 1 slot."),
        (replace(QUEUED, ahead=60, jobs_a_second=0.5), Kind.BEHIND_OTHERS,
         "60 jobs of this queue are older, and 3 workers take about 30 a minute, so about 2 min."),
        (replace(QUEUED, ahead=MOST_AHEAD + 1, jobs_a_second=100.0), Kind.BEHIND_OTHERS,
         "More than 10,000 jobs of this queue are older, and 3 workers take about 100 a second, so more than 1 min."),
        (QUEUED, Kind.NEXT,
         "It is the next of the queue default, and has been due for 2 s: a worker claims it any moment."),
        (replace(QUEUED, publish_at=NOON - timedelta(seconds=12)), Kind.NEXT,
         "It is the next of the queue default, and has been due for 12 s: the messages for it were lost, or led to"
         " nothing, and a relay sends another within 5 s."),
        (replace(QUEUED, fleet=replace(READY, free_slots=0)), Kind.NEXT,
         "It is the next of the queue default, and no slot of 3 workers is free (12 in all)."),
        (running(pid=71, ran_seconds=12.4), Kind.RUNNING, "Runs now on w1@pod-x, process 71, for 12 s of 1 min."),
        (running(ran_seconds=0.2, limit_seconds=None), Kind.RUNNING, "Runs now on w1@pod-x, for less than 1 s."),
        (running(), Kind.CLAIMED,
         "Claimed ahead by w1@pod-x 20 s ago, and not begun as the worker reported 5 s ago."),
        (running(silent_seconds=25.0), Kind.CLAIMED,
         "Claimed by w1@pod-x 20 s ago; the worker has not reported since."),
        (running(silent_seconds=None), Kind.CLAIMED,
         "Claimed by w1@pod-x 20 s ago, which reports nothing of its runs; its lease ends in 40 s, and then it runs"
         " again."),
        (running(has_stopped=True, silent_seconds=70.0), Kind.LOST,
         "Its worker seems lost: it is w1@pod-x and has not reported for 1 min; its lease ends in 40 s, and then it"
         " runs again."),
        (running(lease_until=NOON - timedelta(seconds=3), ran_seconds=5.0), Kind.LOST,
         "Its run on w1@pod-x is lost: its lease ended 3 s ago. A relay records that within seconds, and it runs"
         " again."),
        (running(worker="", since=None, silent_seconds=None, fate="the job is dead"), Kind.CLAIMED,
         "Claimed by a worker less than 1 s ago, which reports nothing of its runs; its lease ends in 40 s, and then"
         " the job is dead."),
    ],
)  # fmt: skip
def test_each_reason_is_one_sentence(facts: Facts, kind: Kind, sentence: str) -> None:
    found = why(facts)
    assert found is not None
    assert (found.sentence, found.kind) == (sentence, kind)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.DEAD, JobState.SKIPPED])
def test_a_final_job_waits_for_nothing(state: JobState) -> None:
    assert why(replace(QUEUED, state=state.value)) is None


def test_what_somebody_may_have_to_do_something_about_is_trouble() -> None:
    trouble = {each for each in (QUEUED, NOT_DUE, replace(QUEUED, held=PAUSED), RUNNING) if why(each).is_trouble}  # type: ignore[union-attr]
    assert trouble == {replace(QUEUED, held=PAUSED)}


# --- From rows --------------------------------------------------------------------------------------------------------


def installed_job(state: str = JobState.QUEUED, **columns: Any) -> Job:
    """Store a job of an installed handler, in its queue."""
    subscription = installed_subscriptions().all[0]
    return make_job(state, handler=subscription.name, queue=subscription.queue, **columns)


def report(worker: str = "w1@pod", **columns: Any) -> WorkerReport:
    usual = {
        "queues": [installed_subscriptions().all[0].queue], "state": "ready", "slots": 4, "busy": 1,
        "started_at": timezone.now(),
    }  # fmt: skip
    return WorkerReport.objects.create(worker=worker, **usual | columns)


def explained(job: Job) -> tuple[Kind, str]:
    found = explain(job)
    assert found is not None
    return found.kind, found.sentence


@pytest.mark.django_db
@pytest.mark.both_databases
def test_a_job_that_is_gone_or_final_waits_for_nothing() -> None:
    job = make_job(JobState.DEAD)
    assert explain(job) is None
    Job.objects.all().delete()
    assert explain(job) is None


@pytest.mark.django_db
@pytest.mark.both_databases
def test_a_retrying_job_says_when_and_after_what() -> None:
    later = Now() + timedelta(seconds=250)
    job = installed_job(JobState.RETRYING, due_at=later, attempt=2)
    for number, outcome in ((1, AttemptOutcome.LOST), (2, AttemptOutcome.SOFT_LIMIT)):
        Attempt.objects.create(job=job, number=number, worker="w", pid=1, outcome=outcome)
    assert explained(job) == (Kind.NOT_DUE, "Due in 4 min, after attempt 2 of 5 reached its soft time limit.")
    Job.objects.update(budget_from_attempt=2)
    assert explained(job) == (Kind.NOT_DUE, "Due in 4 min.")  # A new budget has no attempt yet.


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.parametrize("what", ["queue", "handler"])
def test_a_pause_is_said_with_who_and_why_until_it_is_resumed(what: str) -> None:
    job = installed_job()
    report()
    Pause.objects.create(queue="another", reason="no", paused_by="ben")
    pause = Pause.objects.create(**{what: getattr(job, what)}, reason="GitHub outage", paused_by="ana")
    kind, sentence = explained(job)
    assert kind == Kind.PAUSED
    assert sentence.startswith(f"The {what} {getattr(job, what)} is paused by ana since ")
    assert "(“GitHub outage”)" in sentence
    Pause.objects.filter(pk=pause.pk).update(resumed_at=Now())
    assert explained(job)[0] == Kind.NEXT


@pytest.mark.django_db
@pytest.mark.both_databases
def test_a_queue_is_consumed_by_ready_workers_that_reported_a_moment_ago() -> None:
    job = installed_job()
    assert "no worker has reported lately" in explained(job)[1]
    row = report()
    assert explained(job)[0] == Kind.NEXT
    for columns in ({"queues": ["other"]}, {"state": "draining"}, {"state": "starting"}):
        WorkerReport.objects.filter(pk=row.pk).update(**columns)
        assert "the one worker that reports takes none of its jobs" in explained(job)[1], columns
        WorkerReport.objects.filter(pk=row.pk).update(queues=row.queues, state="ready")
    for gone in ({"state": "stopped"}, {"reported_at": Now() - timedelta(seconds=workers.LOST_SECONDS + 1)}):
        WorkerReport.objects.filter(pk=row.pk).update(**gone)
        assert "no worker has reported lately" in explained(job)[1], gone


@pytest.mark.django_db
@pytest.mark.both_databases
def test_what_is_claimed_before_it_is_counted_as_the_claim_orders_it(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = make_delivery()
    job = installed_job(due_at=Now() - timedelta(seconds=60))
    at = Job.objects.values_list("publish_at", flat=True).get(pk=job.pk)
    older: dict[str, Any] = {"delivery": delivery, "queue": job.queue, "due_at": Now() - timedelta(seconds=90)}
    for number in range(3):
        make_job(JobState.QUEUED, handler=f"shop.{number}", **older)
    make_job(JobState.QUEUED, handler="shop.other_queue", **older | {"queue": "other"})
    make_job(JobState.QUEUED, handler="shop.younger", **older | {"due_at": Now()})
    make_job(JobState.SUCCEEDED, handler="shop.done", **older)
    same = make_job(JobState.QUEUED, handler="shop.same_moment", **older | {"due_at": at})
    job.refresh_from_db()
    same.refresh_from_db()
    report()
    assert due.ahead_of(job, most=10) == 3
    assert due.ahead_of(same, most=10) == 4  # The earlier job comes first.
    assert due.ahead_of(job, most=2) == 2
    assert due.ahead_of(job, most=10, passed_by=["shop.0"]) == 2
    assert explained(job) == (
        Kind.BEHIND_OTHERS, "3 jobs of this queue are older, and 1 worker takes them, with 4 slots."
    )  # fmt: skip
    Pause.objects.create(handler="shop.1", reason="no", paused_by="ana")
    assert explained(job)[1].startswith("2 jobs of this queue are older")


@pytest.mark.django_db
@pytest.mark.both_databases
def test_a_rate_is_of_the_queues_own_attempts_of_the_last_minute_and_left_out_if_there_are_few() -> None:
    now = timezone.now()
    runs = [(make_job(queue=queue), ago) for queue, ago in (("fast", 10), ("fast", 300), ("other", 1))]
    for job, ago in runs:
        Attempt.objects.bulk_create(
            Attempt(job=job, number=number, worker="w", pid=1, finished_at=now - timedelta(seconds=ago))
            for number in range(30 if job.queue == "fast" else waiting_facts.FEWEST - 1)
        )
    assert waiting_facts.jobs_a_second("fast", now=now) == pytest.approx(0.5)
    assert waiting_facts.jobs_a_second("other", now=now) is None
    assert waiting_facts.jobs_a_second("none", now=now) is None


@pytest.mark.django_db
@pytest.mark.both_databases
def test_a_rate_that_more_attempts_than_are_read_would_tell_counts_from_the_oldest_that_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting_facts, "SAMPLE", 20)
    now, job = timezone.now(), make_job(queue="fast")
    Attempt.objects.bulk_create(
        Attempt(job=job, number=number, worker="w", pid=1, finished_at=now - timedelta(seconds=(100 - number) / 10))
        for number in range(100)
    )
    assert waiting_facts.jobs_a_second("fast", now=now) == pytest.approx(10.0)


@pytest.mark.django_db
@pytest.mark.both_databases
def test_a_running_job_is_told_by_what_its_worker_reports() -> None:
    now = timezone.now()
    job = installed_job(
        JobState.RUNNING, attempt=3, worker="w1@pod", claimed_at=now - timedelta(seconds=20),
        lease_until=now + timedelta(seconds=3600),
    )  # fmt: skip
    assert explained(job)[1].startswith("Claimed by w1@pod 20 s ago, which reports nothing of its runs; its lease ends")
    run = {"job": job.pk, "attempt": 3, "handler": job.handler, "pid": 71, "seconds": 12.0}
    row = report(running=[{**run, "attempt": 2}, run])
    limit = int(installed_subscriptions().all[0].time_limit)
    kind, sentence = explained(job)
    assert kind == Kind.RUNNING
    assert sentence.startswith("Runs now on w1@pod, process 71, for 1")
    assert limit
    WorkerReport.objects.update(running=[])
    assert explained(job)[0] == Kind.CLAIMED
    WorkerReport.objects.filter(pk=row.pk).update(reported_at=Now() - timedelta(seconds=70), running=[run])
    kind, sentence = explained(job)
    assert kind == Kind.LOST
    assert "it is w1@pod and has not reported for 1 min" in sentence
    assert sentence.endswith("and then it runs again.")


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.parametrize(("began", "state"), [(True, JobState.DEAD), (False, JobState.QUEUED)])
def test_what_is_said_of_a_lost_run_is_what_the_relay_makes_of_it(began: bool, state: JobState) -> None:
    job = installed_job(
        JobState.RUNNING, attempt=7, lost=4 + LOST_ALLOWANCE, worker="w", claimed_at=Now(),
        lease_until=Now() - timedelta(seconds=5), started_at=Now() if began else None,
    )  # fmt: skip
    kind, sentence = explained(job)
    fate = "the job is dead: too many of its runs were lost" if began else "it runs again"
    assert (kind, sentence.endswith(f"and {fate}.")) == (Kind.LOST, True)
    assert transitions.expire_leases() == 1
    assert Job.objects.get(pk=job.pk).state == state


@pytest.mark.django_db
@pytest.mark.both_databases
def test_the_answer_takes_a_handful_of_queries_that_an_index_serves() -> None:
    delivery = make_delivery()
    job = installed_job(due_at=Now() - timedelta(seconds=1))
    for number in range(20):
        make_job(
            JobState.QUEUED, delivery=delivery, handler=f"shop.{number}", queue=job.queue, due_at=Now() - timedelta(9)
        )
    Job.objects.filter(pk=job.pk).update(attempt=F("attempt"))
    report()
    with CaptureQueriesContext(connection) as captured:
        explain(job)
    assert len(captured) <= 7
    if connection.vendor == "sqlite":
        for query in captured.captured_queries:
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN QUERY PLAN " + query["sql"])
                plan = " ".join(str(row[3]) for row in cursor.fetchall())
            assert "SCAN webhooks_job" not in plan, plan
            if "COUNT" in query["sql"]:
                assert "job_publish" in plan
                assert "TEMP B-TREE" not in plan
