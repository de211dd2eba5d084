"""The console's page of workers: what it shows of each, whom it asks to stop, and a running job's stack."""

import re
import tomllib
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from tests.support.inbox_rows import EVIL, make_job
from tests.support.processes import ROOT
from webhooks.inbox import workers
from webhooks.inbox.workers import LOST_SECONDS, Report, RunningJob, State
from webhooks.models import Change, WorkerReport, WorkerRequest
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

RUN = RunningJob(job=7, attempt=2, handler="shop.count", pid=4321, seconds=12.5)


def client_as(role: str | None) -> Client:
    user = User.objects.create_user("ana")
    if role:
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator() -> Client:
    return client_as("operator")


def report(worker: str = "worker-1@pod", *, silent: float = 0.0, **values: Any) -> WorkerReport:
    """Have a worker report, so many seconds ago."""
    usual: dict[str, Any] = {
        "worker": worker, "release": "2026.11", "queues": ["default", "mail"], "state": State.READY, "slots": 4,
        "memory_bytes": 300 * 1024 * 1024, "running": [], "age_seconds": 3_600.0 + silent,
    }  # fmt: skip
    workers.write(Report(**usual | values))
    row = WorkerReport.objects.get(worker=worker)
    WorkerReport.objects.filter(pk=row.pk).update(reported_at=Now() - timedelta(seconds=silent))
    return row


def text_of(client: Client, url: str = "/workers/") -> str:
    response = client.get(url)
    assert response.status_code == 200, url
    return " ".join(re.sub(r"<[^>]*>", " ", unescape(response.content.decode())).split())


def names_of(client: Client, url: str = "/workers/") -> list[str]:
    return re.findall(r'worker-name">([^<]+)<', client.get(url).content.decode())


# --- What it shows ----------------------------------------------------------------------------------------------------


def test_a_worker_is_shown_with_all_that_it_says_of_itself(operator: Client) -> None:
    report(running=[RUN])
    text = text_of(operator)
    for part in (
        "ready", "worker-1@pod", "started 1 h ago", "2026.11", "default mail", "1 of 4", "300.0 MB",
        "#7 shop.count, attempt 2 for 12.5 s, process 4321", "1 of 4 slots are busy",
    ):  # fmt: skip
        assert part in text.replace("\xa0", " "), part
    assert 'href="/jobs/7/"' in operator.get("/workers/").content.decode()


def test_those_that_need_a_look_come_first_and_one_without_a_report_is_lost(operator: Client) -> None:
    report("e-stopped@pod", state=State.STOPPED, silent=600)
    report("d-ready@pod")
    report("c-connecting@pod", state=State.STARTING)
    report("b-draining@pod", state=State.DRAINING)
    report("a-lost@pod", silent=LOST_SECONDS + 15)
    report("f-just-there@pod", silent=LOST_SECONDS - 10)
    order = ["a-lost@pod", "b-draining@pod", "c-connecting@pod", "d-ready@pod", "f-just-there@pod"]
    assert names_of(operator) == order
    assert "lost no report for 4" in text_of(operator)
    assert names_of(operator, "/workers/?state=lost") == ["a-lost@pod"]
    assert names_of(operator, "/workers/?state=stopped") == ["e-stopped@pod"]
    assert names_of(operator, "/workers/?state=ready") == ["d-ready@pod", "f-just-there@pod"]
    assert names_of(operator, "/workers/?state=nonsense") == order


def test_none_at_all_and_none_that_matches_are_told_apart(operator: Client) -> None:
    assert "No worker has reported within a day" in text_of(operator)
    report()
    assert "No worker matches “Lost”" in text_of(operator, "/workers/?state=lost")


def test_what_a_worker_says_is_text_and_nothing_else(operator: Client) -> None:
    report(EVIL, release=EVIL, queues=[EVIL], running=[RunningJob(job=7, attempt=1, handler=EVIL, pid=1, seconds=1)])
    for url in ("/workers/", "/workers/stop/"):
        page = operator.get(url).content.decode()
        assert "alert(" in page
        assert EVIL not in page


def test_a_second_report_is_the_same_row(operator: Client) -> None:
    first = report(release="1", silent=100)
    second = report(release="2")
    assert (first.pk, second.release) == (second.pk, "2")
    [worker] = workers.known()
    assert worker.state == State.READY
    assert abs((timezone.now() - second.started_at).total_seconds() - 3_600) < 60


def test_flower_is_linked_where_it_is_known(operator: Client, settings: Any) -> None:
    settings.HOOKLINE_FLOWER_PREFIX, settings.HOOKLINE_FLOWER_PORT = "", 5656
    assert 'href="http://testserver:5656/"' in operator.get("/workers/").content.decode()
    settings.HOOKLINE_FLOWER_PREFIX = "tools/flower"
    assert 'href="/tools/flower/"' in operator.get("/workers/").content.decode()
    settings.HOOKLINE_FLOWER_PREFIX, settings.HOOKLINE_ENVIRONMENT = "", "production"
    assert "Flower" not in text_of(operator)


def test_the_release_of_a_worker_that_is_given_none_is_this_one(settings: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == settings.HOOKLINE_RELEASE


# --- Who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "sees", "acts"),
    [("viewer", 200, 403), ("operator", 200, 200), ("administrator", 200, 200), (None, 403, 403)],
)
def test_a_viewer_sees_workers_and_an_operator_may_act(role: str | None, sees: int, acts: int) -> None:
    client = client_as(role)
    report(running=[RUN])
    job = make_job(JobState.RUNNING, worker="worker-1@pod")
    assert client.get("/workers/").status_code == sees
    assert client.get("/workers/stop/").status_code == acts
    assert client.get(f"/workers/stack/{job.pk}/").status_code == acts
    done = {200: 302, 403: 403}[acts]
    assert client.post("/workers/stop/ask/", {"worker": "worker-1@pod", "reason": "r"}).status_code == done
    assert client.post("/workers/stack/", {"job": job.pk}).status_code == done
    assert WorkerRequest.objects.count() == (2 if acts == 200 else 0)
    if role == "viewer":
        assert "Stop…" not in text_of(client)


def test_who_is_not_signed_in_is_asked_to(client: Client) -> None:
    for url in ("/workers/", "/workers/stop/", "/workers/stack/1/"):
        assert client.get(url)["Location"].startswith("/sign-in/")
    assert client.post("/workers/stop/ask/")["Location"].startswith("/sign-in/")


# --- Stop -------------------------------------------------------------------------------------------------------------


def test_one_worker_is_asked_to_stop_with_a_reason_that_the_audit_log_keeps(operator: Client) -> None:
    report(running=[RUN])
    report("worker-2@pod")
    text = text_of(operator, "/workers/stop/?worker=worker-1%40pod")
    assert "worker-1@pod : shop.count #7" in text
    assert "worker-2@pod" not in text
    answer = operator.post("/workers/stop/ask/", {"worker": "worker-1@pod", "reason": "leaks memory"}, follow=True)
    assert "1 worker asked to stop after the current jobs." in answer.content.decode()
    [request] = WorkerRequest.objects.all()
    assert (request.worker, request.kind, request.asked_by, request.answered_at) == (
        "worker-1@pod",
        "stop",
        "ana",
        None,
    )
    [change] = Change.objects.all()
    assert (change.action, change.who, change.reason) == ("stop_workers", "ana", "leaks memory")
    assert change.scope == "worker-1@pod"
    assert "asked to stop by ana" in text_of(operator)


def test_all_that_are_shown_are_asked_but_none_that_is_lost_or_stops_already(operator: Client) -> None:
    for number in (1, 2):
        report(f"worker-{number}@pod")
    report("lost@pod", silent=100)
    report("draining@pod", state=State.DRAINING)
    page = operator.get("/workers/stop/?state=there").content.decode()
    named = re.findall(r'name="worker" value="([^"]+)"', page)
    assert named == ["worker-1@pod", "worker-2@pod"]
    everybody = [*named, "lost@pod", "draining@pod", "unknown@pod"]
    answer = operator.post("/workers/stop/ask/", {"worker": everybody, "reason": "r"}, follow=True)
    assert "2 workers asked to stop after the current jobs. 3 left" in answer.content.decode()
    again = operator.post("/workers/stop/ask/", {"worker": named, "reason": "r"}, follow=True)
    assert "0 workers asked to stop" in again.content.decode()
    assert WorkerRequest.objects.count() == 2
    assert "There is no worker to ask" in text_of(operator, "/workers/stop/")


def test_without_a_reason_nobody_is_asked(operator: Client) -> None:
    report()
    answer = operator.post("/workers/stop/ask/", {"worker": "worker-1@pod", "reason": " "}, follow=True)
    assert "give a reason" in answer.content.decode()
    assert not WorkerRequest.objects.exists()


def test_a_worker_that_was_started_again_under_its_name_was_not_asked(operator: Client) -> None:
    report()
    workers.ask_to_stop(["worker-1@pod"], who="ana", reason="r")
    [request] = workers.open_requests("worker-1@pod")
    assert workers.answer(request, "It stops.")
    assert not workers.answer(request, "Again.")
    assert workers.known()[0].asked_by == "ana"
    WorkerRequest.objects.update(asked_at=Now() - timedelta(seconds=5))
    report(age_seconds=0.0)
    assert workers.known()[0].may_be_asked_to_stop


# --- A running job's stack --------------------------------------------------------------------------------------------


def fragment(client: Client, job: Any) -> str:
    return text_of(client, f"/workers/stack/{job.pk}/")


def test_a_stack_is_asked_for_awaited_and_shown(operator: Client) -> None:
    job = make_job(JobState.RUNNING, worker="worker-1@pod", attempt=2)
    assert "Show its stack" in fragment(operator, job)
    answer = operator.post("/workers/stack/", {"job": job.pk}, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert f'hx-get="/workers/stack/{job.pk}/" hx-trigger="every 1s"' in answer.content.decode()
    assert operator.post("/workers/stack/", {"job": job.pk})["Location"] == f"/jobs/{job.pk}/"
    [request] = workers.open_requests("worker-1@pod")
    assert (request.kind, request.job_id, request.attempt, request.asked_by) == ("stack", job.pk, 2, "ana")
    workers.answer(request, f'File "a.py", line 3 in {EVIL}')
    page = operator.get(f"/workers/stack/{job.pk}/").content.decode()
    assert EVIL not in page
    assert "every 1s" not in page
    assert 'File "a.py", line 3 in </pre><script>' in unescape(page)
    assert "Show it as it is now" in page


def test_after_15_seconds_it_says_that_the_worker_has_not_answered(operator: Client) -> None:
    job = make_job(JobState.RUNNING, worker="worker-1@pod", attempt=1)
    operator.post("/workers/stack/", {"job": job.pk})
    WorkerRequest.objects.update(asked_at=Now() - timedelta(seconds=16))
    page = operator.get(f"/workers/stack/{job.pk}/").content.decode()
    assert "has not answered within 15 seconds" in page
    assert "every 1s" not in page
    assert "Show it as it is now" in page


def test_a_job_that_does_not_run_has_no_stack_to_ask_for(operator: Client) -> None:
    job = make_job(JobState.SUCCEEDED, worker="worker-1@pod", attempt=1)
    assert fragment(operator, job) == ""
    operator.post("/workers/stack/", {"job": job.pk})
    assert not WorkerRequest.objects.exists()
    for number in ("", "x", "9" * 30, "0"):
        assert operator.post("/workers/stack/", {"job": number}).status_code == 404


# --- What is removed, and how rows are found --------------------------------------------------------------------------


def test_rows_of_workers_gone_for_a_day_and_old_requests_are_removed() -> None:
    report("old-lost@pod", silent=90_000)
    report("old-stopped@pod", state=State.STOPPED, silent=90_000)
    report("stopped@pod", state=State.STOPPED, silent=80_000)
    report("ready@pod")
    workers.ask_to_stop(["ready@pod"], who="ana", reason="r")
    workers.forget_gone()
    assert sorted(WorkerReport.objects.values_list("worker", flat=True)) == ["ready@pod", "stopped@pod"]
    assert WorkerRequest.objects.count() == 1
    WorkerRequest.objects.update(asked_at=Now() - timedelta(days=2))
    workers.forget_gone()
    assert not WorkerRequest.objects.exists()


@pytest.fixture
def many_requests() -> None:
    """What a year of questions would leave behind if nothing was removed, and a database that has looked at it."""
    now = timezone.now()
    WorkerRequest.objects.bulk_create(
        WorkerRequest(
            worker=f"worker-{number % 50}@pod", kind="stack", asked_by="ana",
            asked_at=now - timedelta(minutes=26 * number), answered_at=now,
        )
        for number in range(20_000)
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "ANALYZE webhooks_workerrequest")


@pytest.mark.usefixtures("many_requests")
def test_what_each_worker_asks_every_two_seconds_is_found_by_the_index_of_open_requests(
    django_assert_num_queries: Any,
) -> None:
    with django_assert_num_queries(1) as seen:
        assert workers.open_requests("worker-7@pod") == []
    assert "request_open" in plan_of(seen[0]["sql"])


@pytest.mark.usefixtures("many_requests")
def test_the_page_takes_two_queries_for_any_number_of_requests(django_assert_num_queries: Any) -> None:
    report()
    with django_assert_num_queries(2) as seen:
        workers.known()
    [requests] = [query["sql"] for query in seen if "webhooks_workerrequest" in query["sql"]]
    assert "request_asked" in plan_of(requests)


def plan_of(statement: str) -> str:
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        cursor.execute(explain + statement.replace("%", "%%"))
        return "\n".join(str(row) for row in cursor.fetchall())
