"""The list of jobs and the page of one, as an operator reads them: what ran, what did not and why."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from tests.support.inbox_rows import EVIL, client_of, make_delivery, make_job, page
from webhooks.console import job_search, narrowing
from webhooks.console.keyset import page_of
from webhooks.console.search import Search
from webhooks.inbox import audit, counts, operations
from webhooks.inbox.operations import OPERATIONS, Operation
from webhooks.models import Attempt, Job, Payload
from webhooks.states import AttemptOutcome, JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

LOOKING = ("view_delivery", "view_job", "view_attempt")
OPERATING = (*LOOKING, "change_job")


def listed(client: Client, **query: str) -> list[int]:
    response = client.get("/jobs/", query)
    assert response.status_code == 200
    return [job.pk for job in response.context["page"].rows]


# --- The list ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", JobState)
def test_each_state_has_its_filter_and_its_page(admin_client: Client, state: JobState) -> None:
    job = make_job(state, lease_until=timezone.now())
    make_job(JobState.DEAD if state != JobState.DEAD else JobState.QUEUED)
    assert listed(admin_client, state=state.value) == listed(admin_client, q=f"state:{state}") == [job.pk]
    assert f'data-state="{state}"' in page(admin_client, f"/jobs/{job.pk}/")


@pytest.mark.parametrize(
    "query",
    [
        {"handler": "shop.bill"}, {"queue": "slow"}, {"error": "TIMED out"}, {"fingerprint": "f" * 16},
        {"q": "error:timed handler:shop.bill"}, {"q": "queue:slow state:dead"}, {"repository": "acme/gears"},
        {"repository": "acme/g*"}, {"event": "release"}, {"sender": "mona"}, {"installation": "7"}, {"since": "5min"},
        {"state": "dead", "since": "5min", "until": "1min"}, {"action": "published", "state": "dead"},
    ],
    ids=str,
)  # fmt: skip
def test_a_job_is_found_by_what_it_has_and_by_what_its_delivery_has(
    admin_client: Client, query: dict[str, str]
) -> None:
    old = timezone.now() - timedelta(hours=1)
    make_job(JobState.DEAD, created_at=old, finished_at=old, error="KeyError", fingerprint="0" * 16)
    make_job(JobState.QUEUED, created_at=old, delivery=make_delivery(repository="zen/zen"))
    delivery = make_delivery(
        repository="acme/gears", event="release", action="published", sender="mona", installation_id=7
    )
    wanted = make_job(
        JobState.DEAD, delivery=delivery, handler="shop.bill", queue="slow", error="OSError: timed out",
        fingerprint="f" * 16, created_at=timezone.now() - timedelta(minutes=2),
        finished_at=timezone.now() - timedelta(minutes=2),
    )  # fmt: skip
    assert listed(admin_client, **query) == [wanted.pk]


def test_jobs_are_found_by_their_number_or_by_their_deliverys_guid(admin_client: Client) -> None:
    job, other = make_job(JobState.DEAD), make_job()
    make_job(delivery=job.delivery, handler="shop.other")
    assert listed(admin_client, q=f"#{job.pk}") == listed(admin_client, q=f"{job.pk} state:dead") == [job.pk]
    assert len(listed(admin_client, q=str(job.delivery.guid).upper())) == 2
    assert listed(admin_client, q=f"{job.delivery.guid} state:dead since:1h") == [job.pk]
    assert listed(admin_client, q=f"{job.pk} guid:{job.delivery.guid}") == [job.pk]
    assert listed(admin_client, q=f"{job.pk} guid:{other.delivery.guid}") == []


def test_a_list_tells_apart_that_there_is_none_and_that_none_match(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "There are no jobs yet" in page(admin_client, "/jobs/")
    for _ in range(3):
        make_job(JobState.DEAD)
    assert "None match" in page(admin_client, "/jobs/?handler=nobody")
    assert "only the first" not in page(admin_client, "/jobs/?handler=shop.count")
    monkeypatch.setattr(narrowing, "MOST_SEARCHED", 2)
    assert "None of the first 2 of this list match" in page(admin_client, "/jobs/?state=dead&handler=nobody")
    assert "only the first 2 of this list were searched" in page(admin_client, "/jobs/?state=dead&handler=shop.count")
    assert "were searched" not in page(admin_client, "/jobs/?state=dead")


def test_the_pages_of_a_list_keep_the_filters_and_lead_there_and_back(admin_client: Client) -> None:
    at, delivery = timezone.now(), make_delivery()
    expected = [
        make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}", finished_at=at - timedelta(number // 3)).pk
        for number in range(120)
    ]
    expected.sort(key=lambda pk: (Job.objects.get(pk=pk).finished_at, pk), reverse=True)
    query, seen = {"state": "dead", "queue": "default"}, list[int]()
    for rows in (50, 50, 20):
        response = admin_client.get("/jobs/", query)
        shown = [job.pk for job in response.context["page"].rows]
        assert len(shown) == rows
        seen += shown
        query["after"] = response.context["page"].after
    assert seen == expected
    assert query["after"] == ""
    back = admin_client.get("/jobs/", {"state": "dead", "queue": "default", "before": response.context["page"].before})
    assert [job.pk for job in back.context["page"].rows] == expected[50:100]
    assert "state=dead&amp;queue=default&amp;after=" in back.content.decode()


def test_a_count_stops_at_its_cap_and_says_so(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = make_delivery()
    for number in range(12):
        make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}")
    assert "Run again all 12 that match" in page(admin_client, "/jobs/?state=dead")
    monkeypatch.setattr(counts, "MOST_COUNTED", 10)
    assert "Run again all more than 10 that match" in page(admin_client, "/jobs/?state=dead")


@pytest.mark.parametrize("rows", [1, 30])
def test_the_list_asks_as_many_queries_for_thirty_rows_as_for_one(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries, rows: int
) -> None:
    for number in range(rows):
        make_job(JobState.DEAD, delivery=make_delivery(), handler=f"shop.{number}")
    for query in ("", "?state=dead", "?state=dead&handler=shop.0"):
        with django_assert_max_num_queries(8) as captured:
            page(admin_client, f"/jobs/{query}")
        asked = " ".join(each["sql"] for each in captured.captured_queries)
        assert not any(column in asked for column in ("webhooks_payload", '"headers"', '"traceback"'))


OTHERS = {"dead": "job_issue|job_dead_id", "skipped": "job_skipped_id"}
"""Further indexes of jobs in one state alone."""


@pytest.mark.parametrize(
    ("state", "index"),
    [
        ("queued", "job_queued"), ("running", "job_running"), ("retrying", "job_retrying"), ("dead", "job_dead"),
        ("skipped", "job_skipped"), ("", "job_created"),
    ],
)  # fmt: skip
@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="PostgreSQL plans by how many rows there are; SQLite does not."
)
@pytest.mark.parametrize("mark", ["", "1777900000000000.9"])
def test_each_states_page_is_read_from_its_own_index_without_sorting(state: str, index: str, mark: str) -> None:
    found = job_search.jobs(Search(state=state))
    plans: list[str] = []
    with connection.execute_wrapper(_explained(plans)):
        page_of(found.jobs, found.order, after=mark)
        found.jobs.order_by()[:100].count()
    assert f"INDEX {index}" in plans[0]
    # To count, any index of this state's jobs alone is as good.
    assert re.search(rf"INDEX ({index}|{OTHERS.get(state, index)})", plans[1]) or not state
    assert not any("TEMP B-TREE" in plan for plan in plans)


def _explained(plans: list[str]) -> Any:
    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            execute("EXPLAIN QUERY PLAN " + sql, params, many, context)
            plans.append(" ".join(str(row[3]) for row in context["cursor"].fetchall()))
        return execute(sql, params, many, context)

    return explain


@pytest.mark.parametrize("query", ["q=%00", "q=%27%3B--", "q=99999999999999999999", "after=x", "state=gone", "since=x"])
def test_nonsense_in_the_address_is_never_an_error(admin_client: Client, query: str) -> None:
    make_job()
    assert admin_client.get(f"/jobs/?{query}", follow=True).status_code in (200, 400)  # A NUL is refused.


# --- One job ----------------------------------------------------------------------------------------------------------


def test_the_page_of_a_job_shows_its_attempts_newest_first_and_the_newest_open(admin_client: Client) -> None:
    job = make_job(JobState.DEAD, attempt=2, error="ValueError: no", fingerprint="f" * 16)
    for number in (1, 2):
        Attempt.objects.create(
            job=job, number=number, worker=f"worker-{number}", pid=7, started_at=timezone.now() - timedelta(seconds=9),
            finished_at=timezone.now(), outcome=AttemptOutcome.FAILED, message="ValueError: no", traceback="line 41",
        )  # fmt: skip
    text = page(admin_client, f"/jobs/{job.pk}/")
    assert text.index("worker-2") < text.index("worker-1")
    assert "9.0 s" in text
    assert "2 of 5 are spent" in text
    assert f'<details id="traceback-{job.pk}-2" open>' in text
    assert f'<details id="traceback-{job.pk}-1">' in text
    assert f"/jobs/?state=dead&amp;fingerprint={'f' * 16}" in text
    assert f'href="/deliveries/{job.delivery_id}/"' in text


def test_the_page_of_a_job_says_where_its_older_attempts_are(admin_client: Client) -> None:
    job = make_job(JobState.DEAD, attempt=51)
    Attempt.objects.bulk_create(Attempt(job=job, number=number, worker="w", pid=7) for number in range(1, 52))
    assert "Only the newest 50 are shown" in page(admin_client, f"/jobs/{job.pk}/")


def test_a_job_that_has_not_run_says_so_and_why(admin_client: Client) -> None:
    job = make_job(JobState.RETRYING, due_at=Now() + timedelta(hours=2, minutes=1))
    text = page(admin_client, f"/jobs/{job.pk}/")
    assert "It has not run yet." in text
    assert "Due in 2 h." in text
    assert 'data-live="5"' in text
    assert "Nobody has changed it." in text


def test_a_job_that_waits_for_its_turn_names_the_job_that_has_it_and_leads_there(admin_client: Client) -> None:
    first = make_job(JobState.QUEUED, order_key="k")
    waiting = make_job(JobState.QUEUED, order_key="k", publish_at=None)
    shown = page(admin_client, f"/jobs/{waiting.pk}/")
    assert f"It waits for job {first.pk} of the same key, which comes first: one of them runs at a time." in shown
    assert f'href="/jobs/{first.pk}/">Job {first.pk}</a>' in shown


def test_a_job_that_was_superseded_leads_to_the_newer_one(admin_client: Client) -> None:
    newer = make_job(JobState.QUEUED)
    old = make_job(JobState.SKIPPED, superseded_by=newer.pk, error=f"Superseded by job {newer.pk}, which came later.")
    for address in (f"/jobs/{old.pk}/", f"/deliveries/{old.delivery_id}/"):
        shown = page(admin_client, address)
        assert f'href="/jobs/{newer.pk}/">Job {newer.pk}</a>' in shown
    assert "Last error:" not in page(admin_client, f"/jobs/{old.pk}/")


def test_a_running_job_names_its_worker_and_a_final_one_does_not_refresh_itself(admin_client: Client) -> None:
    now = timezone.now()
    job = make_job(JobState.RUNNING, worker="worker-4@pod", claimed_at=now, lease_until=now + timedelta(hours=1))
    assert "worker-4@pod" in page(admin_client, f"/jobs/{job.pk}/")
    Job.objects.update(state=JobState.SUCCEEDED, finished_at=now, result="labelled")
    text = page(admin_client, f"/jobs/{job.pk}/")
    assert "labelled" in text
    assert "data-live" not in text


def test_the_page_shows_the_budget_with_what_was_forgiven_and_lost(admin_client: Client) -> None:
    job = make_job(JobState.DEAD, attempt=9, forgiven=2, lost=3, budget_from_attempt=1)
    assert "3 of 5 are spent, 2 forgiven, 3 lost" in page(admin_client, f"/jobs/{job.pk}/")


def test_what_people_changed_stands_on_the_job(admin_client: Client) -> None:
    job = make_job(JobState.DEAD)
    audit.record("run_again", who="ana", scope="job", reason="the mail server is <back>", jobs=[job.pk])
    text = page(admin_client, f"/jobs/{job.pk}/")
    assert "ana: run again" in text
    assert escape("the mail server is <back>") in text


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("is_due", [True, False])
def test_a_button_is_offered_exactly_where_the_operation_changes_something(
    admin_client: Client, operation: Operation, state: JobState, is_due: bool
) -> None:
    job = make_job(state, due_at=Now() + timedelta(hours=-1 if is_due else 1))
    offered = page(admin_client, f"/jobs/{job.pk}/")
    before = Job.objects.values().get()
    operation.carry_out(Job.objects.all())
    assert (f"operation={operation.name}&amp;" in offered) == (Job.objects.values().get() != before)


def test_a_job_without_its_payload_is_not_offered_to_run_again(admin_client: Client) -> None:
    job = make_job(JobState.SUCCEEDED)
    assert "Run again" in page(admin_client, f"/jobs/{job.pk}/")
    Payload.objects.all().delete()
    assert "Run again" not in page(admin_client, f"/jobs/{job.pk}/")
    assert operations.allowed(job) == []


# --- Who sees what ----------------------------------------------------------------------------------------------------


def test_nothing_that_came_from_outside_is_markup(admin_client: Client) -> None:
    delivery = make_delivery(repository=EVIL, sender=EVIL, action=EVIL)
    job = make_job(
        JobState.DEAD, delivery=delivery, error=EVIL, handler=EVIL, result=EVIL, queue=EVIL, fingerprint="<b>"
    )
    Attempt.objects.create(job=job, number=1, worker=EVIL, pid=7, message=EVIL, traceback=EVIL, outcome="failed")
    audit.record("run_again", who=EVIL, scope=EVIL, reason=EVIL, jobs=[job.pk])
    for url in ("/jobs/", f"/jobs/{job.pk}/", f"/jobs/confirm/?operation=run_again&job={job.pk}"):
        text = page(admin_client, url)
        assert "<script>alert" not in text, url
        assert "<b>" not in text, url
        assert escape("<script>alert") in text, url
    waiting = make_job(JobState.QUEUED, handler=EVIL, queue=EVIL)
    assert "<script>alert" not in page(admin_client, f"/jobs/{waiting.pk}/")


def test_who_may_only_look_is_offered_nothing_and_can_change_nothing() -> None:
    client, job = client_of(*LOOKING), make_job(JobState.DEAD)
    for url in ("/jobs/?state=dead", f"/jobs/{job.pk}/"):
        text = page(client, url)
        assert "Run again" not in text
        assert "data-select" not in text
    assert client.get("/jobs/confirm/", {"operation": "run_again", "job": str(job.pk)}).status_code == 403
    assert (
        client.post("/jobs/change/", {"operation": "run_again", "job": str(job.pk), "reason": "x"}).status_code == 403
    )


def test_the_roles_see_jobs_and_the_operator_acts_on_them() -> None:
    job = make_job(JobState.DEAD)
    for role, may in (("viewer", False), ("operator", True), ("administrator", True)):
        user = User.objects.create_user(role)
        user.groups.add(user.groups.model.objects.get(name=role))
        client = Client()
        client.force_login(user)
        assert ("Run again" in page(client, f"/jobs/{job.pk}/")) is may
        assert ("Run again" in page(client, "/jobs/?state=dead")) is may


def test_who_may_not_view_jobs_or_is_a_stranger_sees_none(client: Client) -> None:
    job = make_job(JobState.DEAD)
    urls = ("/jobs/", f"/jobs/{job.pk}/", "/jobs/confirm/")
    without = client_of("view_delivery")
    for url in urls:
        assert without.get(url).status_code == 403
        assert urlsplit(client.get(url).headers["Location"]).path == "/sign-in/"
    assert parse_qs(urlsplit(client.get(urls[1]).headers["Location"]).query)["next"] == [urls[1]]


def test_who_may_not_view_attempts_or_deliveries_sees_nothing_of_them() -> None:
    job = make_job(JobState.DEAD, attempt=1, delivery=make_delivery(repository="mark/of-delivery"))
    Attempt.objects.create(job=job, number=1, worker="w", pid=7, traceback="MarkOfTraceback", outcome="failed")
    client = client_of("view_job")
    for url in ("/jobs/", f"/jobs/{job.pk}/"):
        text = page(client, url)
        assert "mark/of-delivery" not in text
        assert "MarkOfTraceback" not in text


def test_a_job_that_is_gone_is_not_found(admin_client: Client) -> None:
    assert admin_client.get("/jobs/999/").status_code == 404
