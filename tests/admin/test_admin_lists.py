"""The inbox's admin at scale and in wrong hands: counts that stop, plans, permissions, hostile text."""

import json
import re
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test import Client, RequestFactory
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from tests.support.inbox_rows import DELIVERIES, EVIL, JOBS, client_of, make_delivery, make_job, page, state_of
from webhooks.admin import lists
from webhooks.inbox import audit
from webhooks.models import Attempt, Job, Source
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

CHANGES = "/admin/webhooks/change/"
LOOKING = ("view_delivery", "view_job", "view_attempt", "view_source")


def plan_of(state: str) -> str:
    """Return the database's plan for a page of the list of jobs, filtered by state."""
    request = RequestFactory().get("/", {"state": state} if state else {})
    request.user = AnonymousUser()
    changes = site.get_model_admin(Job).get_changelist_instance(request)
    return str(changes.queryset[:50].explain())


# --- Ten million rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 30])
def test_the_lists_ask_as_many_queries_for_thirty_rows_as_for_one(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries, rows: int
) -> None:
    for number in range(rows):
        job = make_job(JobState.DEAD, delivery=make_delivery(), handler=f"shop.{number}")
        Attempt.objects.create(job=job, number=1, worker="w", pid=7)
    for url in (DELIVERIES, JOBS, f"{JOBS}?state=dead", "/admin/webhooks/attempt/"):
        with django_assert_max_num_queries(5):
            page(admin_client, url)


def test_the_lists_never_read_payloads_headers_or_tracebacks(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Attempt.objects.create(job=make_job(), number=1, worker="w", pid=7)
    with django_assert_max_num_queries(20) as captured:
        for url in (DELIVERIES, JOBS, "/admin/webhooks/attempt/"):
            page(admin_client, url)
    asked = " ".join(query["sql"] for query in captured.captured_queries)
    for column in ("webhooks_payload", '"headers"', '"traceback"'):
        assert column not in asked


@pytest.mark.parametrize(
    ("state", "index"),
    [
        ("queued", "job_queued"),
        ("running", "job_running"),
        ("retrying", "job_retrying"),
        ("dead", "job_dead"),
        ("skipped", "job_skipped"),
        ("", "job_created"),
    ],
)
@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="PostgreSQL plans by how many rows there are; SQLite does not."
)
def test_each_states_page_is_read_from_its_own_index_without_sorting(state: str, index: str) -> None:
    plan = plan_of(state)
    assert f"USING INDEX {index}" in plan
    assert "TEMP B-TREE" not in plan


def test_a_count_stops_at_its_cap_and_says_so(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_COUNTED", 100)
    delivery = make_delivery()
    for number in range(102):
        make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}")
    text = page(admin_client, JOBS)
    assert "more than 100 jobs" in text
    assert "The pages reach the first 100." in text
    assert "more than 100" in text
    assert not re.search(r"101 (jobs|found|selected)", text)
    assert len(admin_client.get(f"{JOBS}?p=2").context["cl"].result_list) == 50
    assert admin_client.get(f"{JOBS}?p=3").status_code == 302


def test_a_count_below_the_cap_is_exact(admin_client: Client) -> None:
    make_job()
    text = page(admin_client, JOBS)
    assert "1 job\n" in text
    assert "more than" not in text


def test_no_column_sorts_and_no_other_column_filters(admin_client: Client) -> None:
    make_job()
    assert "?o=" not in page(admin_client, JOBS)
    assert admin_client.get(f"{JOBS}?o=-2").context["cl"].queryset.query.order_by == ("-created_at", "-id")
    assert admin_client.get(f"{JOBS}?error__contains=x").status_code == 400


@pytest.mark.parametrize("query", ["q=%00", "q=%27%3B--", "q=99999999999999999999", "p=0", "p=x", "state=gone", "all="])
def test_nonsense_in_the_address_is_never_an_error(admin_client: Client, query: str) -> None:
    make_job()
    for url in (JOBS, DELIVERIES, "/admin/webhooks/attempt/"):
        assert admin_client.get(f"{url}?{query}").status_code in (200, 302, 400)


# --- Permissions ------------------------------------------------------------------------------------------------------


def test_even_who_may_change_jobs_is_offered_nothing_here() -> None:
    client, job = client_of(*LOOKING, "change_job"), make_job(JobState.DEAD)
    text = page(client, f"{JOBS}{job.pk}/change/")
    assert "Run again" not in text
    assert f'href="/jobs/{job.pk}/"' in text
    for url in (JOBS, DELIVERIES):
        assert 'name="action"' not in page(client, url)
    client.post(JOBS, {"action": "give_up", "index": "0", "_selected_action": [job.pk]})
    assert state_of(job) == JobState.DEAD


def test_the_audit_log_lists_who_did_what_and_why_and_is_read_only(admin_client: Client) -> None:
    job = make_job(JobState.DEAD)
    change = audit.record("run_again", who="ana", scope="job 1", reason=EVIL, jobs=[job.pk])
    audit.record("give_up", who="ben", scope="all jobs", reason="no longer wanted")
    text = page(admin_client, CHANGES)
    assert escape(EVIL) in text
    assert text.index("ben") < text.index("ana")
    for query, count in (("who=ana", 1), ("action=give_up", 1), ("who=ana&action=give_up", 0), ("who=nobody", 0)):
        assert admin_client.get(f"{CHANGES}?{query}").context["cl"].result_count == count, query
    one = page(admin_client, f"{CHANGES}{change.pk}/change/")
    assert f"{JOBS}{job.pk}/change/" in one
    assert admin_client.post(f"{CHANGES}{change.pk}/change/", {"who": "ben"}).status_code == 403
    assert admin_client.post(f"{CHANGES}{change.pk}/delete/").status_code == 403


def test_strangers_are_sent_to_the_login(client: Client) -> None:
    make_job()
    for url in (JOBS, DELIVERIES):
        assert client.post(url).status_code == 302
        assert client.post(url).headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("model", ["delivery", "job", "attempt", "source"])
def test_even_a_superuser_cannot_add_or_delete(admin_client: Client, model: str) -> None:
    row: Any = Attempt.objects.create(job=make_job(), number=1, worker="w", pid=7)
    row = {"delivery": row.job.delivery, "job": row.job, "attempt": row, "source": row.job.delivery.source}[model]
    assert admin_client.get(f"/admin/webhooks/{model}/add/").status_code == 403
    assert admin_client.post(f"/admin/webhooks/{model}/{row.pk}/delete/").status_code == 403
    assert "delete_selected" not in page(admin_client, f"/admin/webhooks/{model}/")
    if model != "source":
        assert admin_client.post(f"/admin/webhooks/{model}/{row.pk}/change/", {"state": "queued"}).status_code == 403


def test_of_a_source_the_url_alone_can_be_edited_by_those_who_may() -> None:
    source = make_delivery().source
    form = {"url": "https://github.acme.example", "name": "other"}
    url = f"/admin/webhooks/source/{source.pk}/change/"
    assert client_of(*LOOKING).post(url, form).status_code == 403
    assert client_of(*LOOKING, "change_source").post(url, form).status_code == 302
    assert Source.objects.values_list("name", "url").get() == ("github", "https://github.acme.example")


# --- Hostile text -----------------------------------------------------------------------------------------------------


def test_nothing_that_came_from_outside_is_markup(admin_client: Client) -> None:
    delivery = make_delivery(
        json.dumps({"zen": EVIL}).encode(), repository=EVIL, sender=EVIL, action=EVIL, headers={"User-Agent": EVIL}
    )
    job = make_job(JobState.DEAD, delivery=delivery, error=EVIL, handler=EVIL, result=EVIL)
    Attempt.objects.create(job=job, number=1, worker=EVIL, pid=7, message=EVIL, traceback=EVIL)
    for url in (
        JOBS, DELIVERIES, "/admin/webhooks/attempt/", f"{JOBS}{job.pk}/change/", f"{DELIVERIES}{delivery.pk}/change/",
    ):  # fmt: skip
        text = page(admin_client, url)
        assert "<script>alert" not in text, url
        assert escape("<script>alert") in text, url


def test_a_row_that_is_gone_is_no_error(admin_client: Client) -> None:
    for url in (f"{JOBS}999/change/", f"{DELIVERIES}999/change/"):
        assert admin_client.get(url).status_code == 302


def test_the_site_is_named_and_its_first_page_leads_to_the_inbox(admin_client: Client) -> None:
    text = page(admin_client, "/admin/")
    assert "Hookline" in text
    for url in (JOBS, DELIVERIES, "/admin/webhooks/attempt/", "/admin/webhooks/source/"):
        assert f'href="{url}"' in text
