"""The inbox's pages in the admin, as an operator uses them: did we get it, did it run, why not, run it again."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from tests.support.inbox_rows import (
    DELIVERIES,
    EVIL,
    JOBS,
    make_delivery,
    make_job,
    messages_of,
    page,
)
from webhooks.durations import relative, took
from webhooks.models import Attempt, Job
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


def test_a_delivery_is_found_by_its_number_and_by_its_whole_repository(admin_client: Client) -> None:
    wanted = make_delivery(repository="acme/widget")
    make_delivery(repository="acme/widgets")
    for term in (f"#{wanted.pk}", "acme/widget"):
        assert [row.pk for row in admin_client.get(DELIVERIES, {"q": term}).context["cl"].result_list] == [wanted.pk]


def test_the_row_of_a_delivery_leads_to_its_page_in_the_console(admin_client: Client) -> None:
    delivery = make_delivery()
    assert f'href="/deliveries/{delivery.pk}/"' in page(admin_client, f"{DELIVERIES}{delivery.pk}/change/")


def test_a_search_without_a_match_says_so_and_an_empty_list_says_otherwise(admin_client: Client) -> None:
    assert "There are none yet." in page(admin_client, DELIVERIES)
    assert "None match." in page(admin_client, f"{DELIVERIES}?q=nobody/")


def test_a_redelivery_is_counted_and_its_last_moment_told(admin_client: Client) -> None:
    delivery = make_delivery(repeats=2, last_repeat_at=timezone.now() - timedelta(hours=2))
    text = page(admin_client, f"{DELIVERIES}{delivery.pk}/change/")
    assert "2, last" in text
    assert "2 h ago" in text


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


@pytest.mark.parametrize(("trusted", "status"), [([], 403), (["https://console.example.com:8443"], 200)])
def test_a_login_through_a_proxy_on_another_port_needs_that_origin_to_be_trusted(
    settings: Any, trusted: list[str], status: int
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = trusted
    client = Client(enforce_csrf_checks=True)
    client.get("/sign-in/")
    form = {"username": "nobody", "password": "wrong", "csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    assert client.post("/sign-in/", form, HTTP_ORIGIN="https://console.example.com:8443").status_code == status
