"""The page of the queues, its pauses, and the banner above every page. For each role."""

from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.inbox_rows import EVIL, make_job, page
from tests.support.people import ROLELESS, signed_in
from webhooks.console.role_names import OPERATOR, VIEWER
from webhooks.inbox import counts, pauses, queues
from webhooks.models import Change, WorkerReport
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def operator() -> Client:
    return signed_in(OPERATOR)


def report(queue: str, *, seconds: float = 1, **columns: Any) -> WorkerReport:
    values = {"worker": f"w{WorkerReport.objects.count()}", "state": "ready", "slots": 4, "busy": 1} | columns
    return WorkerReport.objects.create(
        queues=[queue], started_at=timezone.now(), reported_at=Now() - timedelta(seconds=seconds), **values
    )


def status(name: str) -> queues.QueueStatus:
    [found] = [each for each in queues.queues() if each.name == name]
    return found


def due(seconds: float, **columns: Any) -> None:
    make_job(columns.pop("state", JobState.QUEUED), due_at=Now() - timedelta(seconds=seconds), **columns)


def test_each_queue_that_is_installed_waits_or_is_paused_is_there() -> None:
    due(5, queue="waits")
    pauses.pause(queue="paused", reason="r", who="ana")
    make_job(JobState.SUCCEEDED, queue="gone")
    names = [each.name for each in queues.queues()]
    assert names == sorted({*installed_subscriptions().queues, "waits", "paused"})


def test_a_queue_tells_what_waits_what_runs_and_who_consumes() -> None:
    due(300, queue="io")
    due(100, queue="io", state=JobState.RETRYING)
    due(-900, queue="io", state=JobState.RETRYING)
    for _ in range(2):
        make_job(JobState.RUNNING, queue="io")
    report("io")
    report("io", slots=8, state="starting")
    report("io", seconds=40)
    report("io", state="draining")
    report("other")
    told = status("io")
    assert (told.waiting.count, told.later.count, told.running, told.workers, told.slots) == (2, 1, 2, 1, 4)
    assert told.oldest_seconds == pytest.approx(300, abs=60)
    assert not told.is_forsaken


def test_it_is_an_error_if_jobs_wait_and_nobody_consumes_and_nobody_has_paused_them(operator: Client) -> None:
    due(5, queue="io")
    assert "Nobody consumes this queue" in page(operator, "/queues/")
    report("io", seconds=40)
    assert status("io").is_forsaken
    pauses.pause(queue="io", reason="r", who="ana")
    assert not status("io").is_forsaken
    pauses.resume(queue="io", who="ana")
    report("io")
    assert "Nobody consumes this queue" not in page(operator, "/queues/")


def test_the_jobs_of_a_replay_have_the_workers_and_the_pause_of_their_live_queue() -> None:
    queue = min(installed_subscriptions().queues)
    due(60, queue=f"{queue}/replay")
    report(queue)
    told = status(f"{queue}/replay")
    assert (told.workers, told.slots, told.is_installed, told.is_forsaken) == (1, 4, True, False)
    WorkerReport.objects.all().delete()
    assert status(f"{queue}/replay").is_forsaken
    pauses.pause(queue=queue, reason="r", who="ana")
    assert status(f"{queue}/replay").pause is not None
    assert not status(f"{queue}/replay").is_forsaken


def test_a_count_is_exact_up_to_its_cap_and_says_so_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_COUNTED", 3)
    for _ in range(3):
        due(5, queue="io")
    assert str(status("io").waiting) == "3"
    for _ in range(3):
        due(5, queue="io")
    assert str(status("io").waiting) == "more than 3"


def test_the_queries_are_as_many_for_many_jobs_as_for_few() -> None:
    counted = []
    for count in (1, 20):
        for _ in range(count):
            due(5, queue="io")
            make_job(JobState.RUNNING, queue="io")
            report("io")
        with CaptureQueriesContext(connection) as asked:
            queues.queues()
        counted.append(len(asked))
    assert counted[0] == counted[1]


def test_an_operator_pauses_a_queue_with_a_reason_and_resumes_it(operator: Client) -> None:
    due(5)
    form = page(operator, "/queues/pause/?queue=default")
    assert "Pause queue default" in form
    assert 'name="reason"' in form
    answer = operator.post("/queues/pause/now/", {"queue": "default", "reason": " GitHub outage "})
    assert (answer.status_code, answer["Location"]) == (302, "/queues/")
    text = page(operator, "/queues/")
    assert "Paused by operator: GitHub outage" in text
    assert text.count('aria-label="Pause queue default"') == 0
    answer = operator.post("/queues/resume/", {"queue": "default", "next": "/jobs/?queue=default"})
    assert (answer.status_code, answer["Location"]) == (302, "/jobs/?queue=default")
    assert pauses.current() == []
    told = list(Change.objects.order_by("id").values_list("action", "who", "scope", "reason"))
    assert told == [
        ("pause", "operator", "queue default", "GitHub outage"),
        ("resume", "operator", "queue default", ""),
    ]


def test_a_handler_is_paused_beside_its_queue(operator: Client) -> None:
    handler = next(iter(installed_subscriptions())).name
    operator.post("/queues/pause/now/", {"handler": handler, "reason": "slow"})
    assert pauses.paused().handlers == {handler}
    text = page(operator, "/queues/")
    assert f'aria-label="Resume {handler}"' in text
    assert f'aria-label="Pause handler {handler}"' not in text
    operator.post("/queues/resume/", {"handler": handler})
    assert f'aria-label="Pause handler {handler}"' in page(operator, "/queues/")


def test_a_paused_handler_that_no_app_has_can_be_resumed(operator: Client) -> None:
    pauses.pause(handler="gone.handler", reason="r", who="bo")
    assert "Paused, and in no installed app" in page(operator, "/queues/")


@pytest.mark.parametrize(
    "form",
    [
        {"queue": "default"},
        {"queue": "default", "reason": "  "},
        {"reason": "r"},
        {"queue": "default", "handler": "shop.count", "reason": "r"},
        {"queue": "x" * 101, "reason": "r"},
    ],
)
def test_a_pause_without_a_name_or_a_reason_is_none(operator: Client, form: dict[str, str]) -> None:
    assert operator.post("/queues/pause/now/", form).status_code == 302
    assert pauses.current() == []


def test_pausing_or_resuming_twice_changes_nothing_and_says_so(operator: Client) -> None:
    pauses.pause(queue="default", reason="first", who="bo")
    answer = operator.post("/queues/pause/now/", {"queue": "default", "reason": "second"}, follow=True)
    assert "is paused already" in answer.content.decode()
    assert [pause.reason for pause in pauses.current()] == ["first"]
    answer = operator.post("/queues/resume/", {"queue": "other"}, follow=True)
    assert "is not paused" in answer.content.decode()


def test_the_banner_stands_above_every_page_and_names_who_when_and_why(operator: Client) -> None:
    pages = ["/", "/deliveries/", "/jobs/", "/dead/", "/replays/", "/recovery/", "/queues/", "/workers/"]
    assert all("is paused by" not in page(operator, url) for url in pages)
    pauses.pause(queue="default", reason=EVIL, who="bo")
    for url in pages:
        text = page(operator, url)
        assert EVIL not in text
        assert EVIL in unescape(text)
        assert "Queue <strong>default</strong> is paused by bo since" in text
        assert 'action="/queues/resume/"' in text


def test_nobody_is_sent_elsewhere_after_a_pause_ends(operator: Client) -> None:
    for elsewhere in ("https://evil.example/", "//evil.example", ""):
        pauses.pause(queue="default", reason="r", who="bo")
        answer = operator.post("/queues/resume/", {"queue": "default", "next": elsewhere})
        assert answer["Location"] == "/queues/"


def test_a_viewer_sees_all_of_it_and_may_change_nothing() -> None:
    viewer = signed_in(VIEWER)
    pauses.pause(queue="default", reason="GitHub outage", who="bo")
    text = page(viewer, "/queues/")
    assert "GitHub outage" in text
    assert "Resume" not in text
    assert "Pause…" not in text
    assert viewer.get("/queues/pause/?queue=default").status_code == 403
    assert viewer.post("/queues/pause/now/", {"queue": "io", "reason": "r"}).status_code == 403
    assert viewer.post("/queues/resume/", {"queue": "default"}).status_code == 403
    assert [pause.queue for pause in pauses.current()] == ["default"]


def test_who_has_no_role_sees_nothing_and_who_is_not_signed_in_is_asked_to() -> None:
    nobody = signed_in(ROLELESS)
    pauses.pause(queue="default", reason="GitHub outage", who="bo")
    assert nobody.get("/queues/").status_code == 403
    assert "GitHub outage" not in nobody.get("/password/").content.decode()
    assert Client().get("/queues/")["Location"].startswith("/sign-in/")
    assert Client().post("/queues/resume/", {"queue": "default"}).status_code == 302
    assert len(pauses.current()) == 1


def test_actions_are_by_post_only(operator: Client) -> None:
    assert operator.get("/queues/resume/").status_code == 405
    assert operator.get("/queues/pause/now/").status_code == 405
