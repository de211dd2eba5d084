"""Run again, retry now, give up: what is asked, what is changed, what the audit log keeps, and what is left."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.test import Client
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from tests.support.inbox_rows import client_of, make_delivery, make_job, messages_of, state_of
from tests.support.job_actions import CHANGE, CONFIRM, REASON, act, ask, confirm, form_of
from webhooks.console import narrowing, selection
from webhooks.inbox import operations, transitions
from webhooks.inbox.operations import BY_NAME, RUN_AGAIN
from webhooks.inbox.turns import Keys
from webhooks.models import Change, ChangedJob, Job, Payload
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

DEAD = "state=dead"


def dead_jobs(count: int) -> list[Job]:
    delivery = make_delivery()
    return [make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}") for number in range(count)]


def changes() -> list[tuple[str, str, str, int, list[int]]]:
    return [
        (
            each.action,
            each.scope,
            each.reason,
            each.count,
            list(each.jobs.order_by("job").values_list("job", flat=True)),
        )
        for each in Change.objects.order_by("pk")
    ]


def end_by_another(job: Job, state: JobState) -> None:
    """Run a job again, as another operator does, and let it end."""
    Job.objects.filter(pk=job.pk).update(state=state, finished_at=Now() + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("operation", "state", "expected", "done"),
    [
        ("run_again", JobState.DEAD, JobState.QUEUED, "queued to run again"),
        ("retry_now", JobState.RETRYING, JobState.RETRYING, "due now"),
        ("give_up", JobState.QUEUED, JobState.SKIPPED, "given up"),
    ],
)
def test_an_operation_is_asked_for_then_done_and_the_log_tells_who_and_why(
    admin_client: Client, operation: str, state: JobState, expected: JobState, done: str
) -> None:
    job = make_job(state, due_at=Now() + timedelta(hours=1))
    page = f"/jobs/{job.pk}/"
    asked = ask(admin_client, operation, job, next=page)
    assert f"1 job will be {done}." in asked.content.decode()
    assert not Change.objects.exists()
    response = confirm(admin_client, asked, "the mail server is <back>")
    assert response.redirect_chain == [(page, 302)]
    assert messages_of(response) == f"1 job {done}."
    assert state_of(job) == expected
    assert changes() == [(operation, f"job {job.pk}", "the mail server is <back>", 1, [job.pk])]
    assert Change.objects.get().who == "admin"
    assert escape("the mail server is <back>") in response.content.decode()


def test_an_operation_that_comes_too_late_changes_nothing_and_says_why(admin_client: Client) -> None:
    job = make_job(JobState.RUNNING)
    asked = ask(admin_client, "give_up", job)
    assert "No job will be given up" in asked.content.decode()
    told = messages_of(confirm(admin_client, asked))
    assert told == "No job given up. 1 left as it was: 1 running (running now, and may still succeed)."
    assert changes() == []


def test_the_page_says_by_handler_and_state_what_changes_and_what_does_not(admin_client: Client) -> None:
    jobs = [make_job(state) for state in (JobState.DEAD, JobState.SUCCEEDED, JobState.RUNNING)]
    parts = ask(admin_client, "run_again", *jobs).context["parts"]
    assert [(part.handler, part.state, part.count, part.refusal) for part in parts] == [
        ("shop.count", "dead", 1, ""), ("shop.count", "running", 1, "running now"), ("shop.count", "succeeded", 1, ""),
    ]  # fmt: skip
    told = act(admin_client, "run_again", *jobs)
    assert told == "2 jobs queued to run again. 1 left as it was: 1 running (running now)."
    assert [state_of(job) for job in jobs] == ["queued", "queued", "running"]


def test_all_that_match_are_one_update_a_batch(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    jobs = dead_jobs(60)
    with django_assert_max_num_queries(40) as captured:
        told = act(admin_client, "run_again", on_all=DEAD)
    assert told == "60 jobs queued to run again."
    assert sum(query["sql"].startswith('UPDATE "webhooks_job"') for query in captured.captured_queries) == 1
    assert {state_of(job) for job in jobs} == {"queued"}
    assert ChangedJob.objects.count() == 60


@pytest.mark.parametrize("query", ["q=%20", "q=", "state=", "queue=default", "state=gone", "state=dead&since=nonsense"])
def test_all_that_match_is_refused_where_no_state_narrows_it_or_a_filter_is_not_understood(
    admin_client: Client, query: str
) -> None:
    job = make_job(JobState.DEAD)
    assert ask(admin_client, "run_again", on_all=query).status_code == 400
    assert "that match</button>" not in admin_client.get(f"/jobs/?{query}", follow=True).content.decode()
    assert state_of(job) == JobState.DEAD


@pytest.mark.parametrize("query", ["", "operation=run_again", "operation=run_again&job=x", "operation=burn&job=1"])
def test_what_names_no_operation_or_no_job_is_refused(admin_client: Client, query: str) -> None:
    make_job(JobState.DEAD)
    assert admin_client.get(f"{CONFIRM}?{query}").status_code == 400
    assert admin_client.post(CHANGE, {}).status_code == 400


def test_more_than_can_be_chosen_by_hand_is_refused(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST_BY_HAND", 2)
    assert ask(admin_client, "run_again", *dead_jobs(3)).status_code == 400


def test_without_any_job_there_is_nothing_to_ask(admin_client: Client) -> None:
    assert ask(admin_client, "run_again", on_all=DEAD).status_code == 400


def test_what_a_filter_selects_is_counted_asked_for_and_stays_what_was_counted(admin_client: Client) -> None:
    jobs = dead_jobs(3)
    late = make_job(JobState.RUNNING, handler="shop.late")
    pruned = make_job(JobState.DEAD, error="boom", handler="shop.pruned")
    Payload.objects.filter(pk=pruned.delivery_id).delete()
    asked = ask(admin_client, "run_again", on_all=f"{DEAD}&since=1h")
    text = asked.content.decode()
    assert "3 jobs will be queued to run again." in text
    assert "1 left as it was: 1 dead (payload pruned)." in text
    assert {state_of(job) for job in jobs} == {"dead"}
    Job.objects.filter(pk=late.pk).update(state=JobState.DEAD, finished_at=Now() + timedelta(seconds=1))
    younger = make_job(JobState.DEAD, handler="shop.younger")
    told = messages_of(confirm(admin_client, asked))
    assert told == "3 jobs queued to run again. 1 left as it was: 1 dead (payload pruned)."
    assert [state_of(job) for job in (*jobs, pruned, late, younger)] == ["queued"] * 3 + ["dead"] * 3
    [(action, scope, reason, count, changed)] = changes()
    assert (action, reason, count, changed) == ("run_again", REASON, 3, [job.pk for job in jobs])
    assert scope.startswith("all jobs with state:dead since:20")  # The moment itself, not how long ago.


def test_a_job_whose_payload_has_been_pruned_keeps_its_result(admin_client: Client) -> None:
    job = make_job(JobState.SUCCEEDED, result="labelled")
    Payload.objects.all().delete()
    told = act(admin_client, "run_again", job)
    assert told == "No job queued to run again. 1 left as it was: 1 succeeded (payload pruned)."
    assert Job.objects.values_list("state", "result").get() == (JobState.SUCCEEDED, "labelled")
    assert changes() == []


@pytest.mark.parametrize(("bound", "first"), [("MOST_AT_ONCE", 4), ("MOST_SECONDS", 3)])
def test_what_one_request_cannot_change_is_asked_for_again(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, bound: str, first: int
) -> None:
    monkeypatch.setattr(operations, bound, 4 if bound == "MOST_AT_ONCE" else 0.0)
    monkeypatch.setattr(operations, "BATCH", 3)
    jobs = dead_jobs(6)
    again = confirm(admin_client, ask(admin_client, "run_again", on_all=DEAD))
    assert messages_of(again) == f"{first} jobs queued to run again."
    text = again.content.decode()
    assert f"{6 - first} jobs will be queued to run again." in text
    assert f'value="{REASON}"' in text
    assert messages_of(confirm(admin_client, again)) == f"{6 - first} jobs queued to run again."
    assert {state_of(job) for job in jobs} == {"queued"}
    assert [each[3] for each in changes()] == [first, 6 - first]


def test_a_large_set_hints_at_a_replay(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    dead_jobs(3)
    words = "This is a large set"
    assert words not in ask(admin_client, "run_again", on_all=DEAD).content.decode()
    monkeypatch.setattr("webhooks.console.pages.job_actions.MOST_AT_ONCE", 2)
    assert words in ask(admin_client, "run_again", on_all=DEAD).content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="there is room for more than one that writes")
def test_between_two_batches_sqlite_has_room_for_a_delivery(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 2)
    pauses: list[tuple[float, bool]] = []
    monkeypatch.setattr(
        "webhooks.inbox.operations.time.sleep",
        lambda seconds: pauses.append((seconds, connection.connection.in_transaction)),
    )
    dead_jobs(3)
    confirm(admin_client, ask(admin_client, "run_again", on_all=DEAD))
    assert pauses == [(operations.PAUSE_SECONDS, False)] * 2


@pytest.mark.parametrize("is_by_filter", [True, False])
def test_what_was_changed_before_it_was_cut_off_is_in_the_log(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, is_by_filter: bool
) -> None:
    jobs, calls = dead_jobs(3), list[None]()

    def fail_at_last(chosen: QuerySet[Job]) -> int:
        calls.append(None)
        if len(calls) == len(jobs):
            raise RuntimeError("cut off")
        return transitions.give_up(chosen)

    monkeypatch.setattr(operations, "BATCH", 1)
    monkeypatch.setitem(BY_NAME, "give_up", replace(BY_NAME["give_up"], carry_out=fail_at_last))
    asked = ask(admin_client, "give_up", *([] if is_by_filter else jobs), on_all=DEAD if is_by_filter else "")
    with pytest.raises(RuntimeError, match="cut off"):
        confirm(admin_client, asked)
    assert [state_of(job) for job in jobs] == ["skipped", "skipped", "dead"]
    assert [each[3:] for each in changes()] == [(2, [job.pk for job in jobs[:2]])]


def before_the_lock(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen after the jobs were read, and before the first batch locks its own."""
    lock = transitions.lock

    def first(jobs: QuerySet[Job]) -> Keys:
        happens()
        return lock(jobs)

    monkeypatch.setattr(transitions, "lock", first)


@pytest.mark.parametrize("is_by_filter", [True, False])
def test_a_job_that_ran_again_and_ended_before_its_turn_is_left_as_it_is(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, is_by_filter: bool
) -> None:
    first, second = dead_jobs(2)
    asked = ask(admin_client, "run_again", *([] if is_by_filter else (first, second)), on_all=DEAD * is_by_filter)
    before_the_lock(monkeypatch, lambda: end_by_another(second, JobState.DEAD))
    told = messages_of(confirm(admin_client, asked))
    assert [state_of(job) for job in (first, second)] == ["queued", "dead"]
    assert told == "1 job queued to run again. 1 changed meanwhile, and left."
    assert [each[4] for each in changes()] == [[first.pk]]


@pytest.mark.parametrize("is_by_filter", [True, False])
def test_what_another_operator_has_given_up_meanwhile_is_not_given_up_again(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, is_by_filter: bool
) -> None:
    [job] = dead_jobs(1)
    asked = ask(admin_client, "give_up", *([] if is_by_filter else [job]), on_all=DEAD * is_by_filter)
    before_the_lock(monkeypatch, lambda: Job.objects.update(state=JobState.RUNNING, finished_at=None))
    assert messages_of(confirm(admin_client, asked)) == "No job given up. 1 changed meanwhile, and left."
    assert changes() == []


@pytest.mark.parametrize("ended", [JobState.SUCCEEDED, JobState.DEAD, JobState.SKIPPED])
def test_a_second_click_runs_nothing_again_that_ended_after_the_first(admin_client: Client, ended: JobState) -> None:
    [job] = dead_jobs(1)
    asked = ask(admin_client, "run_again", job)
    confirm(admin_client, asked)
    end_by_another(job, ended)
    told = messages_of(confirm(admin_client, asked))
    assert told == "No job queued to run again. 1 changed meanwhile, and left."
    assert state_of(job) == ended
    assert len(changes()) == 1


def test_the_page_says_so_where_the_search_looked_at_the_first_jobs_only(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_jobs(3)
    words, query = "among the first 2 of the list", f"{DEAD}&queue=default"
    assert words not in ask(admin_client, "run_again", on_all=query).content.decode()
    monkeypatch.setattr(narrowing, "MOST_SEARCHED", 2)
    assert words in ask(admin_client, "run_again", on_all=query).content.decode()


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
def test_nothing_is_done_without_a_reason(admin_client: Client, reason: str) -> None:
    [job] = dead_jobs(1)
    answer = confirm(admin_client, ask(admin_client, "run_again", on_all=DEAD), reason)
    assert state_of(job) == JobState.DEAD
    assert "1 job will be" in answer.content.decode()
    confirm(admin_client, answer)
    assert state_of(job) == JobState.QUEUED


def test_a_form_that_fixes_nothing_is_asked_anew(admin_client: Client) -> None:
    [job] = dead_jobs(1)
    form = {"operation_on_all": "run_again", "state": "dead", "reason": "why", "newest": "x", "until": ""}
    assert 'name="reason"' in admin_client.post(CHANGE, form).content.decode()
    assert state_of(job) == JobState.DEAD


@pytest.mark.parametrize("place", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_nobody_is_sent_to_another_site_afterwards(admin_client: Client, place: str) -> None:
    [job] = dead_jobs(1)
    asked = ask(admin_client, "run_again", job, next=place)
    assert "evil" not in asked.content.decode()
    response = admin_client.post(CHANGE, form_of(asked) | {"reason": REASON, "next": place})
    assert response.headers["Location"].startswith("/jobs/?")


def test_a_get_changes_nothing_and_a_post_needs_its_token() -> None:
    [job] = dead_jobs(1)
    client = client_of("view_job", "change_job")
    assert client.get(CHANGE, {"operation": "run_again", "job": str(job.pk)}).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(CHANGE, {"operation": "run_again", "job": str(job.pk)}).status_code == 403
    assert state_of(job) == JobState.DEAD


def test_each_operation_says_why_it_leaves_every_state_that_it_does_not_change() -> None:
    for operation in BY_NAME.values():
        for state in JobState:
            refusal = operation.refusal(state, has_need=True)
            assert bool(refusal) == (state.value not in operation.states)
    assert RUN_AGAIN.refusal(JobState.DEAD, has_need=False) == "payload pruned"
