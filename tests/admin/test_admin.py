"""The inbox's pages in the admin, as an operator uses them: did we get it, did it run, why not, run it again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from tests.support.inbox_rows import (
    DELIVERIES,
    EVIL,
    JOBS,
    act,
    ask,
    confirm,
    make_delivery,
    make_job,
    messages_of,
    page,
    state_of,
)
from webhooks.admin import jobs as jobs_admin
from webhooks.admin import lists
from webhooks.durations import relative, took
from webhooks.inbox import operations, transitions
from webhooks.inbox.operations import GIVE_UP, OPERATIONS, RUN_AGAIN, Operation
from webhooks.models import Attempt, Job, Payload
from webhooks.states import AttemptOutcome, JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


# --- Did we get it? ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["{}", "  {} ", "upper"])
def test_a_delivery_is_found_by_its_guid_in_any_case_and_with_blanks(admin_client: Client, shape: str) -> None:
    wanted, other = make_delivery(), make_delivery()
    term = str(wanted.guid).upper() if shape == "upper" else shape.format(wanted.guid)
    found = admin_client.get(DELIVERIES, {"q": term})
    assert [row.pk for row in found.context["cl"].result_list] == [wanted.pk]
    assert str(other.guid) not in found.content.decode()


@pytest.mark.parametrize(
    ("term", "repositories"),
    [
        ("acme/widget", {"acme/widget"}),
        ("acme/", {"acme/widget", "acme/widgets"}),
        ("acme/widgets", {"acme/widgets"}),
        ("zen", {"zen/zen"}),
        ("widget", set()),
    ],
)
def test_deliveries_are_found_by_a_repository_or_the_start_of_one(
    admin_client: Client, term: str, repositories: set[str]
) -> None:
    for name in ("acme/widget", "acme/widgets", "zen/zen"):
        make_delivery(repository=name)
    found = admin_client.get(DELIVERIES, {"q": term}).context["cl"].result_list
    assert {delivery.repository for delivery in found} == repositories


def test_deliveries_are_found_by_their_event(admin_client: Client) -> None:
    make_delivery(event="push")
    release = make_delivery(event="release")
    assert [row.pk for row in admin_client.get(DELIVERIES, {"q": "release"}).context["cl"].result_list] == [release.pk]


def test_a_search_without_a_match_says_so_and_an_empty_list_says_otherwise(admin_client: Client) -> None:
    assert "There are none yet." in page(admin_client, DELIVERIES)
    assert "None match." in page(admin_client, f"{DELIVERIES}?q=nobody/")


def test_a_delivery_in_the_list_tells_its_jobs_states_with_the_dead_first(admin_client: Client) -> None:
    delivery = make_delivery()
    for number, state in enumerate([JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.DEAD]):
        make_job(state, delivery=delivery, handler=f"shop.{number}")
    assert "1 dead, 2 succeeded" in page(admin_client, DELIVERIES)


def test_a_redelivery_is_counted_and_its_last_moment_told(admin_client: Client) -> None:
    delivery = make_delivery(repeats=2, last_repeat_at=timezone.now() - timedelta(hours=2))
    text = page(admin_client, f"{DELIVERIES}{delivery.pk}/change/")
    assert "2, last" in text
    assert "2 h ago" in text


def test_a_delivery_that_nobody_subscribes_to_says_that_there_was_nothing_to_run(admin_client: Client) -> None:
    assert "No handler is subscribed" in page(admin_client, f"{DELIVERIES}{make_delivery().pk}/change/")


@pytest.mark.parametrize(
    "body", [b'{"a": ' + b"[" * 1023 + b"]" * 1023 + b"}", rb'{"a": "\ud83d"}', b'{"a": "\xed\xa0\xbd"}']
)
def test_a_payload_is_shown_however_deep_it_nests_and_with_half_characters(admin_client: Client, body: bytes) -> None:
    assert "Show it" in page(admin_client, f"{DELIVERIES}{make_delivery(body).pk}/change/")


# --- Did it run, and why not? -----------------------------------------------------------------------------------------


def test_the_page_of_a_job_shows_its_attempts_newest_first(admin_client: Client) -> None:
    job = make_job(JobState.DEAD, attempt=2, error="ValueError: no")
    for number in (1, 2):
        Attempt.objects.create(
            job=job, number=number, worker=f"worker-{number}", pid=7, started_at=timezone.now() - timedelta(seconds=9),
            finished_at=timezone.now(), outcome=AttemptOutcome.FAILED, message="ValueError: no", traceback="line 41",
        )  # fmt: skip
    text = page(admin_client, f"{JOBS}{job.pk}/change/")
    assert text.index("worker-2") < text.index("worker-1")
    assert "9.0 s" in text
    assert "line 41" in text
    assert "2 of 5" in text


def test_the_page_of_a_job_says_where_its_older_attempts_are(admin_client: Client) -> None:
    job = make_job(JobState.DEAD)
    Attempt.objects.bulk_create(Attempt(job=job, number=number, worker="w", pid=7) for number in range(1, 52))
    assert "Only the newest 50 are shown" in page(admin_client, f"{JOBS}{job.pk}/change/")
    assert admin_client.get(f"/admin/webhooks/attempt/?q={job.pk}").context["cl"].result_count == 51


@pytest.mark.parametrize("began", [None, 5])
def test_the_page_of_a_running_job_says_which_worker_has_it_and_since_when(
    admin_client: Client, began: float | None
) -> None:
    now = timezone.now()
    job = make_job(
        JobState.RUNNING, worker="worker-4@pod", claimed_at=now - timedelta(seconds=125), lease_until=now,
        started_at=None if began is None else now - timedelta(seconds=began),
    )  # fmt: skip
    text = page(admin_client, f"{JOBS}{job.pk}/change/")
    claimed, begun = "by worker-4@pod <time", ", begun <time"
    assert (claimed in text, begun in text) == (True, began is not None)
    assert "2 min ago" in text
    Job.objects.update(state=JobState.SUCCEEDED, finished_at=now)
    assert "worker-4@pod" not in page(admin_client, f"{JOBS}{job.pk}/change/")


@pytest.mark.parametrize("state", JobState)
def test_each_state_has_its_filter_and_its_page(admin_client: Client, state: JobState) -> None:
    job = make_job(state, lease_until=timezone.now())
    make_job(JobState.DEAD if state != JobState.DEAD else JobState.QUEUED)
    found = admin_client.get(JOBS, {"state": state.value})
    assert [row.pk for row in found.context["cl"].result_list] == [job.pk]
    assert f" {state.value}</span>" in found.content.decode()
    assert f" {state.value}</span>" in page(admin_client, f"{JOBS}{job.pk}/change/")


def test_jobs_are_found_by_their_number_or_by_their_deliverys_guid(admin_client: Client) -> None:
    job = make_job()
    make_job()
    for term in (str(job.pk), f" #{job.pk} ", str(job.delivery.guid).upper()):
        assert [row.pk for row in admin_client.get(JOBS, {"q": term}).context["cl"].result_list] == [job.pk]
    assert "found by its number" in messages_of(admin_client.get(JOBS, {"q": "ValueError"}))


def test_moments_are_absolute_with_their_zone_and_relative(admin_client: Client) -> None:
    job = make_job(created_at=timezone.now() - timedelta(minutes=3, seconds=5))
    text = page(admin_client, f"{JOBS}{job.pk}/change/")
    assert f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC" in text
    assert "3 min ago" in text


def test_attempts_have_a_list_and_a_page(admin_client: Client) -> None:
    attempt = Attempt.objects.create(job=make_job(JobState.RUNNING), number=1, worker="w@host", pid=7, traceback=EVIL)
    assert "running" in page(admin_client, "/admin/webhooks/attempt/")
    assert escape(EVIL) in page(admin_client, f"/admin/webhooks/attempt/{attempt.pk}/change/")
    assert "by the number" in messages_of(admin_client.get("/admin/webhooks/attempt/?q=w@host"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "now"), (5, "5 s ago"), (200, "3 min ago"), (7300, "2 h ago"), (200_000, "2 d ago"), (-61, "in 1 min")],
)
def test_a_moments_distance_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    now = timezone.now()
    assert relative(now - timedelta(seconds=seconds), now=now) == words


@pytest.mark.parametrize(("seconds", "words"), [(-1, "0 ms"), (0.42, "420 ms"), (1.23, "1.2 s"), (3700, "1 h")])
def test_a_runs_duration_is_told_as_finely_as_it_matters(seconds: float, words: str) -> None:
    assert took(timedelta(seconds=seconds)) == words


# --- Run it again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("state", JobState)
def test_a_button_is_offered_exactly_where_the_state_allows_it(
    admin_client: Client, operation: Operation, state: JobState
) -> None:
    job = make_job(state)
    is_offered = f"/{operation.name}/" in page(admin_client, f"{JOBS}{job.pk}/change/")
    assert is_offered == bool(getattr(transitions, operation.name)(Job.objects.all()))


@pytest.mark.parametrize(
    ("operation", "state", "expected"),
    [("run_again", JobState.DEAD, JobState.QUEUED), ("give_up", JobState.QUEUED, JobState.SKIPPED)],
)
def test_a_button_changes_the_job_and_the_history_tells_who_did(
    admin_client: Client, operation: str, state: str, expected: str
) -> None:
    job = make_job(state)
    filtered = "?_changelist_filters=state%3Ddead"
    button = f"{JOBS}{job.pk}/{operation}/{filtered}"
    asked = admin_client.post(button)
    assert "1 job" in asked.content.decode()
    assert state_of(job) == state
    response = confirm(admin_client, button, asked, "the mail server is <back>")
    assert response.redirect_chain == [(f"{JOBS}{job.pk}/change/{filtered}", 302)]
    assert messages_of(response).startswith("1 job ")
    assert state_of(job) == expected
    history = page(admin_client, f"{JOBS}{job.pk}/history/")
    label = {"run_again": "Run again", "give_up": "Give up"}[operation]
    assert escape(f"{label}: the mail server is <back>") in history
    assert "admin" in history


def test_a_button_that_comes_too_late_changes_nothing_and_says_why(admin_client: Client) -> None:
    job = make_job(JobState.RUNNING)
    button = f"{JOBS}{job.pk}/give_up/"
    asked = admin_client.post(button)
    assert "No job will be given up" in asked.content.decode()
    told = messages_of(confirm(admin_client, button, asked))
    assert told == "No job given up. 1 left as it was: 1 running (running now, and may still succeed)."
    assert state_of(job) == JobState.RUNNING


def test_an_action_says_how_many_changed_and_why_others_did_not(admin_client: Client) -> None:
    jobs = [make_job(state) for state in (JobState.DEAD, JobState.SUCCEEDED, JobState.RUNNING)]
    told = act(admin_client, "run_again", *jobs)
    assert told == "2 jobs queued to run again. 1 left as it was: 1 running (running now)."
    assert [state_of(job) for job in jobs] == ["queued", "queued", "running"]


def test_an_action_on_every_page_of_a_state_is_one_update_a_batch(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    delivery = make_delivery()
    jobs = [make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}") for number in range(60)]
    with django_assert_max_num_queries(40) as captured:
        told = act(admin_client, "run_again", jobs[0], url=f"{JOBS}?state=dead", across=True)
    assert told == "60 jobs queued to run again."
    assert sum(query["sql"].startswith('UPDATE "webhooks_job"') for query in captured.captured_queries) == 1
    assert {state_of(job) for job in jobs} == {"queued"}


@pytest.mark.parametrize("query", ["", "?q=%20", "?q=", "?state=", "?queue=default"])
def test_an_action_on_every_page_is_refused_where_no_filter_narrows_it(admin_client: Client, query: str) -> None:
    job = make_job(JobState.SUCCEEDED)
    assert "filter by one state first" in act(admin_client, "run_again", job, url=JOBS + query, across=True)
    assert state_of(job) == JobState.SUCCEEDED


def entries() -> list[tuple[str | None, str, str]]:
    return list(LogEntry.objects.order_by("pk").values_list("object_id", "object_repr", "change_message"))


def test_what_a_filter_selects_is_counted_asked_for_and_stays_what_was_counted(admin_client: Client) -> None:
    delivery = make_delivery()
    jobs = [make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}") for number in range(3)]
    late = make_job(JobState.RUNNING, handler="shop.late")
    pruned = make_job(JobState.DEAD, error="boom", handler="shop.pruned")
    Payload.objects.filter(pk=pruned.delivery_id).delete()
    url = f"{JOBS}?state=dead"
    asked = ask(admin_client, "run_again", jobs[0], url=url, across=True)
    text = asked.content.decode()
    assert "3 jobs will be queued to run again." in text
    assert "1 left as it was: 1 dead (payload pruned)." in text
    assert {state_of(job) for job in jobs} == {"dead"}
    Job.objects.filter(pk=late.pk).update(state=JobState.DEAD, finished_at=Now() + timedelta(seconds=1))
    younger = make_job(JobState.DEAD, handler="shop.younger")
    told = messages_of(confirm(admin_client, url, asked))
    assert told == "3 jobs queued to run again. 1 left as it was: 1 dead (payload pruned)."
    assert [state_of(job) for job in (*jobs, pruned, late, younger)] == ["queued"] * 3 + ["dead"] * 3
    assert entries() == [(None, "3 jobs", "Run again: the mail server is back (selected by state=dead)")]


def test_a_job_that_succeeded_and_whose_payload_has_been_pruned_keeps_its_result(admin_client: Client) -> None:
    job = make_job(JobState.SUCCEEDED, result="labelled")
    assert "/run_again/" in page(admin_client, f"{JOBS}{job.pk}/change/")
    Payload.objects.all().delete()
    assert "/run_again/" not in page(admin_client, f"{JOBS}{job.pk}/change/")
    told = act(admin_client, "run_again", job)
    assert told == "No job queued to run again. 1 left as it was: 1 succeeded (payload pruned)."
    assert Job.objects.values_list("state", "result").get() == (JobState.SUCCEEDED, "labelled")
    assert entries() == []


def test_more_than_one_request_changes_is_asked_for_again(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MOST_AT_ONCE", 4)
    monkeypatch.setattr(operations, "BATCH", 3)
    delivery = make_delivery()
    jobs = [make_job(JobState.SUCCEEDED, delivery=delivery, handler=f"shop.{number}") for number in range(6)]
    url = f"{JOBS}?state=succeeded"
    asked = ask(admin_client, "run_again", jobs[0], url=url, across=True)
    again = confirm(admin_client, url, asked)
    assert messages_of(again) == "4 jobs queued to run again."
    assert "2 jobs will be queued to run again." in again.content.decode()
    assert messages_of(confirm(admin_client, url, again)) == "2 jobs queued to run again."
    assert {state_of(job) for job in jobs} == {"queued"}
    assert [entry[1] for entry in entries()] == ["4 jobs", "2 jobs"]


def test_what_one_request_has_no_time_for_is_asked_for_again(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(operations, "BATCH", 2)
    delivery = make_delivery()
    jobs = [make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}") for number in range(3)]
    url = f"{JOBS}?state=dead"
    again = confirm(admin_client, url, ask(admin_client, "run_again", jobs[0], url=url, across=True))
    assert messages_of(again) == "2 jobs queued to run again."
    assert "1 job will be queued to run again." in again.content.decode()
    assert messages_of(confirm(admin_client, url, again)) == "1 job queued to run again."
    assert {state_of(job) for job in jobs} == {"queued"}


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
    delivery = make_delivery()
    jobs = [make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}") for number in range(3)]
    url = f"{JOBS}?state=dead"
    confirm(admin_client, url, ask(admin_client, "run_again", jobs[0], url=url, across=True))
    assert pauses == [(operations.PAUSE_SECONDS, False)] * 2


@pytest.mark.parametrize("is_by_filter", [True, False])
def test_what_was_changed_before_it_was_cut_off_is_in_the_history(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, is_by_filter: bool
) -> None:
    delivery = make_delivery()
    jobs = [make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}") for number in range(3)]
    calls: list[None] = []

    def fail_at_last(chosen: QuerySet[Job]) -> int:
        calls.append(None)
        if len(calls) == len(jobs):
            raise RuntimeError("cut off")
        return transitions.give_up(chosen)

    monkeypatch.setattr(operations, "BATCH", 1)
    monkeypatch.setattr(jobs_admin, "GIVE_UP", replace(GIVE_UP, carry_out=fail_at_last))
    url = f"{JOBS}?state=dead"
    asked = ask(admin_client, "give_up", *jobs, url=url, across=is_by_filter)
    with pytest.raises(RuntimeError, match="cut off"):
        confirm(admin_client, url, asked)
    assert [state_of(job) for job in jobs] == ["skipped", "skipped", "dead"]
    assert [entry[1] for entry in entries()] == (["2 jobs"] if is_by_filter else [str(job) for job in jobs[:2]])


@pytest.mark.parametrize("is_by_filter", [True, False])
def test_a_job_that_ran_again_and_ended_before_its_turn_is_left_as_it_is(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, is_by_filter: bool
) -> None:
    delivery = make_delivery()
    first, second = (make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}") for number in range(2))

    def carry_out(chosen: QuerySet[Job]) -> int:
        end_by_another(second, JobState.DEAD)
        return transitions.run_again(chosen)

    monkeypatch.setattr(operations, "BATCH", 1)
    monkeypatch.setattr(jobs_admin, "RUN_AGAIN", replace(RUN_AGAIN, carry_out=carry_out))
    told = act(admin_client, "run_again", first, second, url=f"{JOBS}?state=dead", across=is_by_filter)
    assert [state_of(job) for job in (first, second)] == ["queued", "dead"]
    assert told == "1 job queued to run again. 1 changed meanwhile, and left."


@pytest.mark.parametrize("is_by_filter", [True, False])
def test_what_is_given_up_of_the_dead_is_not_what_another_operator_has_run_again_meanwhile(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, is_by_filter: bool
) -> None:
    job = make_job(JobState.DEAD)

    def carry_out(chosen: QuerySet[Job]) -> int:
        transitions.run_again(Job.objects.all())
        return transitions.give_up(chosen)

    monkeypatch.setattr(jobs_admin, "GIVE_UP", replace(GIVE_UP, carry_out=carry_out))
    told = act(admin_client, "give_up", job, url=f"{JOBS}?state=dead", across=is_by_filter)
    assert state_of(job) == JobState.QUEUED
    assert told == "No job given up. 1 changed meanwhile, and left."


@pytest.mark.parametrize("ended", [JobState.SUCCEEDED, JobState.DEAD, JobState.SKIPPED])
def test_a_second_click_runs_nothing_again_that_ended_after_the_first(admin_client: Client, ended: JobState) -> None:
    job = make_job(JobState.DEAD)
    button = f"{JOBS}{job.pk}/run_again/"
    asked = admin_client.post(button)
    confirm(admin_client, button, asked)
    end_by_another(job, ended)
    assert (
        messages_of(confirm(admin_client, button, asked))
        == "No job queued to run again. 1 changed meanwhile, and left."
    )
    assert state_of(job) == ended
    assert len(entries()) == 1


def end_by_another(job: Job, state: JobState) -> None:
    """Run a job again, as another operator does, and let it end."""
    Job.objects.filter(pk=job.pk).update(state=state, finished_at=Now() + timedelta(seconds=1))


def test_the_page_that_asks_says_so_where_the_filter_looked_at_the_first_rows_only(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [make_job(JobState.DEAD) for _ in range(3)]
    words = "among the first 2 of the list"
    url = f"{JOBS}?state=dead&handler=shop.count"
    assert words not in ask(admin_client, "run_again", jobs[0], url=url, across=True).content.decode()
    monkeypatch.setattr(lists, "MOST_LOOKED_AT", 2)
    assert words in ask(admin_client, "run_again", jobs[0], url=url, across=True).content.decode()


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
def test_nothing_is_done_without_a_reason(admin_client: Client, reason: str) -> None:
    job = make_job(JobState.DEAD)
    url = f"{JOBS}?state=dead"
    answer = confirm(admin_client, url, ask(admin_client, "run_again", job, url=url, across=True), reason)
    assert state_of(job) == JobState.DEAD
    assert "1 job will be" in answer.content.decode()
    confirm(admin_client, url, answer)
    assert state_of(job) == JobState.QUEUED


def test_an_answer_that_fixes_nothing_of_a_filters_selection_is_asked_anew(admin_client: Client) -> None:
    job = make_job(JobState.DEAD)
    form = {"action": "run_again", "index": "0", "select_across": "1", "_selected_action": [job.pk], "reason": "why"}
    assert 'name="reason"' in admin_client.post(f"{JOBS}?state=dead", form).content.decode()
    assert state_of(job) == JobState.DEAD


def test_each_job_chosen_by_hand_has_the_reason_in_its_history(admin_client: Client) -> None:
    jobs = [make_job(JobState.DEAD), make_job(JobState.SUCCEEDED)]
    act(admin_client, "give_up", *jobs)
    assert entries() == [(str(jobs[0].pk), str(jobs[0]), "Give up: the mail server is back")]


def test_the_dead_jobs_of_deliveries_run_again_and_what_succeeded_does_not(admin_client: Client) -> None:
    delivery = make_delivery()
    dead = make_job(JobState.DEAD, delivery=delivery)
    done = make_job(JobState.SUCCEEDED, delivery=delivery, handler="shop.other")
    assert act(admin_client, "run_dead_again", delivery, url=DELIVERIES) == "1 job queued to run again."
    assert (state_of(dead), state_of(done)) == ("queued", "succeeded")


def test_deliveries_are_acted_on_one_page_at_a_time(admin_client: Client) -> None:
    dead = make_job(JobState.DEAD)
    told = act(admin_client, "run_dead_again", dead.delivery, url=DELIVERIES, across=True)
    assert "one page of deliveries at a time" in told
    assert state_of(dead) == JobState.DEAD


@pytest.mark.parametrize(("trusted", "status"), [([], 403), (["https://console.example.com:8443"], 200)])
def test_a_login_through_a_proxy_on_another_port_needs_that_origin_to_be_trusted(
    settings: Any, trusted: list[str], status: int
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = trusted
    client = Client(enforce_csrf_checks=True)
    client.get("/sign-in/")
    form = {"username": "nobody", "password": "wrong", "csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    assert client.post("/sign-in/", form, HTTP_ORIGIN="https://console.example.com:8443").status_code == status
