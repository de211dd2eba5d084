"""Home: what it says, to whom, and that no number of rows makes it slow."""

import json
import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.benchmarks.stored import store
from tests.support.inbox_rows import EVIL, make_job
from tests.support.people import ROLELESS, signed_in
from webhooks.console.overview import charts, standing
from webhooks.console.role_names import ROLES
from webhooks.inbox import counts
from webhooks.inbox.figures.making import HOUR, MINUTE, hour_of, make, minute_of
from webhooks.models import (
    AnswerMinute,
    FigureHour,
    FigureMark,
    FigureMinute,
    IssueMark,
    Job,
    Pause,
    QueueMinute,
    Release,
    WorkerReport,
)
from webhooks.models.figures import Kind
from webhooks.receiver import measures
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def now() -> datetime:
    """The moment; a relay has just worked."""
    now = timezone.now()
    until = minute_of(now) - 5 * MINUTE
    FigureMark.objects.create(
        pk=1, minutes_until=until, hours_until=hour_of(until), written_at=now, resumed_at=now - HOUR
    )
    return now


def home(client: Client | None = None, query: str = "") -> str:
    response = (client or signed_in("viewer")).get(f"/{query}")
    assert response.status_code == 200
    return unescape(response.content.decode())


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def sentence(page: str) -> str:
    found = re.search(r'<p class="standing-sentence">(.*?)</p>', page)
    assert found
    return found[1]


def row_numbers(page: str) -> list[str]:
    """Return the numbers of the queue "bulk"."""
    row = re.search(r'<tr>\s*<td data-label="Queue"><span><a href="/jobs/\?queue=bulk">.*?</tr>', page, re.DOTALL)
    assert row
    return [text(cell).strip() for cell in re.findall(r'class="number">(.*?)</td>', row[0])]


def figures(page: str) -> Any:
    found = re.search(r'<script id="home-figures" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def report(name: str = "w@pod", state: str = "ready", *, age: float = 0.0, **columns: Any) -> WorkerReport:
    at = timezone.now() - timedelta(seconds=age)
    given = {"queues": ["default"], "slots": 4, "busy": 1, "started_at": at, "reported_at": at} | columns
    return WorkerReport.objects.create(worker=name, state=state, **given)


def dead(fingerprint: str, error: str = "KeyError: 'x'", **columns: Any) -> Job:
    return make_job(JobState.DEAD, fingerprint=fingerprint, error=error, **columns)


# --- Who may see it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_everybody_with_a_role_sees_all_of_it(role: str) -> None:
    page = text(home(signed_in(role)))
    for title in (
        "Received a minute",
        "Acknowledged within",
        "Jobs by state",
        "Queues",
        "Workers",
        "Relay",
        "Open issues",
    ):
        assert title in page


def test_who_has_no_role_sees_nothing_of_it_and_who_is_not_signed_in_is_asked_to() -> None:
    assert signed_in(ROLELESS).get("/").status_code == 403
    assert Client().get("/")["Location"].startswith("/sign-in/")
    assert signed_in("viewer").post("/").status_code == 405


def test_who_may_see_deliveries_alone_sees_no_jobs_no_errors_and_no_workers() -> None:
    dead("aa", "a secret of the handler")
    user = User.objects.create_user("partly")
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    client = Client()
    client.force_login(user)
    page = text(home(client))
    assert "Received a minute" in page
    for title in ("Jobs by state", "Open issues", "a secret of the handler", "slots busy", "workers ready", "Handlers"):
        assert title not in page


# --- The sentence -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("now")
def test_where_nothing_is_wrong_it_says_so() -> None:
    report()
    report("gone@pod", "stopped", age=3_600)
    page = home()
    assert sentence(page) == "No open issue; nothing waits; 1 of 1 worker ready."
    assert "alert-success" in page


@pytest.mark.usefixtures("now")
def test_it_begins_with_issues_what_waits_and_the_workers() -> None:
    report("a@pod")
    report("b@pod", "draining")
    report("c@pod", age=31)
    dead("aa")
    dead("aa")
    dead("bb")
    make_job(JobState.QUEUED, due_at=timezone.now() - timedelta(minutes=4, seconds=5))
    page = home()
    assert sentence(page) == "2 open issues; oldest queued 4 min; 1 of 3 workers ready."
    assert "alert-warning" in page
    shown = text(page)
    assert "lost 1" in shown
    assert "draining 1" in shown


@pytest.mark.usefixtures("now")
def test_a_queue_that_nobody_consumes_is_a_fault_unless_it_is_paused() -> None:
    report("a@pod", queues=["other"])
    report("late@pod", age=60)
    report("ending@pod", "draining")
    make_job(JobState.QUEUED, due_at=timezone.now() - timedelta(seconds=2))
    page = home()
    assert "nobody consumes default" in sentence(page)
    assert "alert-danger" in page
    assert "nobody consumes it" in text(page)
    Pause.objects.create(queue="default", reason="outage", paused_by="ana")
    page = home()
    assert "nobody consumes" not in page
    assert "paused" in text(page)


@pytest.mark.usefixtures("now")
def test_the_jobs_of_a_replay_are_taken_by_who_consumes_their_live_queue() -> None:
    report("a@pod", queues=["default"])
    make_job(JobState.QUEUED, queue="default/replay", due_at=timezone.now() - timedelta(seconds=2))
    assert "nobody consumes" not in home()
    Pause.objects.create(queue="default", reason="outage", paused_by="ana")
    WorkerReport.objects.all().delete()
    assert "nobody consumes" not in home()


def test_a_relay_that_is_late_or_never_came_is_a_fault() -> None:
    report()
    page = home()
    assert sentence(page).endswith("no relay has worked here yet.")
    assert "alert-danger" in page
    make_job()
    make()
    assert sentence(home()).endswith("worker ready.")
    FigureMark.objects.update(written_at=timezone.now() - timedelta(minutes=4, seconds=3))
    assert sentence(home()).endswith("no relay for 4 min.")


# --- Charts -----------------------------------------------------------------------------------------------------------


def test_the_charts_are_drawn_from_the_figures(now: datetime) -> None:
    at = minute_of(now) - 3 * MINUTE
    for receiver, result, count in (("a", "stored", 5), ("b", "stored", 7), ("a", "unsigned", 2)):
        AnswerMinute.objects.create(at=at, receiver=receiver, result=result, count=count, took_1=count)
    AnswerMinute.objects.create(at=minute_of(now), receiver="a", result="failed", count=1)  # It is not over.
    FigureMinute.objects.create(at=at, kind=Kind.RECEIVED, event="push", count=1_234)
    release = Release.objects.create(name="2.0")
    page = home()
    drawn = figures(page)
    place = drawn["at"].index(int(at.timestamp()))
    assert len(drawn["at"]) == 60
    assert {one["name"]: one["values"][place] for one in drawn["received"]} == {"stored": 12, "unsigned": 2}
    assert sum(drawn["received"][0]["values"]) == 12
    [median, p99] = drawn["acknowledged"]
    assert 5 < median["values"][place] < p99["values"][place] < 10
    assert median["values"][place - 1] is None
    assert [mark["name"] for mark in drawn["marks"]] == ["2.0"]
    assert abs(drawn["marks"][0]["at"] - release.first_seen_at.timestamp()) <= 1
    assert "1,234 deliveries in 1h · 12 stored · 2 wrong signature" in text(page)


def test_a_longer_range_is_read_from_the_hours(now: datetime) -> None:
    at = hour_of(now) - 3 * HOUR
    FigureHour.objects.create(at=at, kind=Kind.ANSWERED, outcome="stored", count=120, took_0=120)
    drawn = figures(home(query="?range=24h"))
    assert len(drawn["at"]) == 24
    assert drawn["received"][0]["values"][drawn["at"].index(int(at.timestamp()))] == 2
    assert len(figures(home(query="?range=7d"))["at"]) == 168
    assert len(figures(home(query="?range=6h"))["at"]) == 360
    assert len(figures(home(query="?range=nonsense"))["at"]) == 60


@pytest.mark.usefixtures("now")
def test_the_page_refreshes_itself_and_keeps_its_range() -> None:
    page = home(query="?range=6h")
    assert 'data-live="5"' in page
    assert 'hx-get="/?range=6h"' in page


# --- Jobs, queues, handlers -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("now")
def test_jobs_are_counted_by_state_and_a_count_that_ends_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "FEW", 2)
    for state, count in ((JobState.QUEUED, 2), (JobState.DEAD, 3), (JobState.SUCCEEDED, 4)):
        for _ in range(count):
            make_job(state)
    counted = {state: count.short for state, count in standing.state_counts()}
    assert counted == {"queued": "2", "running": "0", "retrying": "0", "dead": "2+", "skipped": "0"}
    page = home()
    assert "2+" in text(page)
    assert 'title="more than 2"' in page
    assert '<a class="list-group-item list-group-item-action state-count" href="/dead/">' in page


def test_a_queue_shows_its_depth_its_oldest_job_and_the_last_hour(now: datetime) -> None:
    report(queues=["bulk"])
    for seconds in (90, 20):
        make_job(JobState.QUEUED, queue="bulk", due_at=now - timedelta(seconds=seconds))
    QueueMinute.objects.create(at=minute_of(now) - MINUTE, queue="bulk", jobs=8, oldest_seconds=1)
    page = home()
    row = re.search(r'<tr>\s*<td data-label="Queue"><span><a href="/jobs/\?queue=bulk">.*?</tr>', page, re.DOTALL)
    assert row
    assert row_numbers(page) == ["2", "1 min"]
    assert row[0].count("100.0,1.0") == 1


def test_a_queue_shows_what_waits_for_a_pauses_end(now: datetime) -> None:
    report(queues=["bulk"])
    for handler in ("shop.bill", "shop.bill", "shop.count"):
        make_job(JobState.QUEUED, queue="bulk", handler=handler, due_at=now - timedelta(seconds=90))
    Pause.objects.create(handler="shop.bill", reason="outage", paused_by="ana")
    assert row_numbers(home()) == ["1 2 paused", "1 min"]
    Pause.objects.create(queue="bulk", reason="outage", paused_by="ana")
    assert row_numbers(home()) == ["3 paused", "\N{EN DASH}"]


def test_each_hour_of_a_handler_says_how_many_failed_and_how_long_it_took(now: datetime) -> None:
    at = hour_of(now) - HOUR
    key = {"at": at, "kind": Kind.RAN, "queue": "q", "event": "push"}
    FigureHour.objects.create(**key, handler="shop.bill", outcome="succeeded", count=3, seconds=6, took_3=3)
    FigureHour.objects.create(**key, handler="shop.bill", outcome="failed", count=1, seconds=2, took_3=1)
    FigureHour.objects.create(**key, handler="shop.count", outcome="succeeded", count=9, seconds=1, took_1=9)
    FigureHour.objects.create(**key, handler="shop.count", outcome="handed_back", count=1, seconds=0, took_0=1)
    page = home()
    rows = re.findall(r'<th scope="row"><a href="/jobs/\?handler=([\w.]+)">(.*?)</tr>', page, re.DOTALL)
    assert [name for name, _ in rows] == ["shop.bill", "shop.count"]
    cells = [
        re.findall(r'<td class="(heat-\w+)[^"]*">(?:<span title="([^"]*)">([^<]*)</span>)?', row) for _, row in rows
    ]
    assert [len(row) for row in cells] == [25, 25]
    assert cells[0][0] == cells[0][-2] == ("heat-4", "1 of 4 failed", "25%")
    assert cells[0][-1] == ("heat-none", "", "")
    assert cells[1][0] == ("heat-0", "0 of 10 failed", "0%")
    assert text(page).count("no run") == 46
    assert "12 in 24 h" in text(page)


# --- Issues -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("now")
def test_of_many_failures_only_few_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "FEW", 2)
    for number in range(4):
        dead("aa")
        make_job(JobState.RETRYING, fingerprint="bb", error="E", due_at=timezone.now() + HOUR * (number + 1))
    page = home()
    assert sentence(page).startswith("2 open issues;")
    assert re.findall(r'<td data-label="Jobs" class="number" title="more than 2">(.*?)</td>', page) == ["2+", "2+"]


@pytest.mark.usefixtures("now")
def test_where_not_all_retrying_jobs_were_looked_at_it_does_not_say_that_none_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counts, "FEW", 2)
    for number in range(3):
        make_job(JobState.RETRYING, due_at=timezone.now() + HOUR * (number + 1))  # Handed back: no error.
    make_job(JobState.RETRYING, fingerprint="bb", error="E", due_at=timezone.now() + 9 * HOUR)
    found = home()
    assert "issue" not in sentence(found)
    page = text(found)
    assert "Nothing is dead or failing" not in page
    assert "None among those that were looked at." in page
    assert "too many to look at all of them" in page


@pytest.mark.usefixtures("now")
def test_failures_are_grouped_and_those_that_were_acknowledged_are_not_shown() -> None:
    dead("aa", handler="shop.bill")
    dead("aa", handler="shop.bill")
    make_job(JobState.RETRYING, fingerprint="bb", error="TimeoutError", due_at=timezone.now() + HOUR)
    make_job(JobState.RETRYING, due_at=timezone.now() + HOUR)  # Handed back: no error.
    dead("cc", "known")
    IssueMark.objects.create(fingerprint="cc", state=IssueMark.State.ACKNOWLEDGED, marked_by="ana")
    page = home()
    assert sentence(page).startswith("2 open issues;")
    assert sorted(re.findall(r"/dead/(\w+)/", page)) == ["aa", "bb"]
    assert "known" not in page


@pytest.mark.usefixtures("now")
def test_empty_parts_say_what_is_empty() -> None:
    page = text(home())
    for said in (
        "Nothing is dead or failing, but for what is acknowledged or ignored.",
        "No run has ended in the last 24 hours.",
        "No worker has reported.",
    ):
        assert said in page


def test_hostile_values_are_shown_as_text(now: datetime) -> None:
    dead("aa", EVIL, handler=EVIL[:50], queue=EVIL[:50])
    make_job(JobState.QUEUED, queue=EVIL[:50], due_at=now - HOUR)
    FigureHour.objects.create(at=hour_of(now), kind=Kind.RAN, handler=EVIL[:50], outcome=EVIL[:20], count=1)
    Release.objects.create(name="</script><script>alert(1)</script>")
    response = signed_in("viewer").get("/")
    assert b"<script>alert" not in response.content
    assert b"alert(&#x27;x&#x27;)" in response.content


# --- Beside many rows -------------------------------------------------------------------------------------------------


@pytest.fixture
def many(transactional_db: None) -> None:
    store(20_000, days=30, body_bytes=10, every_dead=100, every_queued=50)
    Job.objects.filter(state=JobState.QUEUED).update(publish_at=timezone.now())


def plan_of(statement: str) -> str:
    kind = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        cursor.execute(kind + statement)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("many")
def test_no_statement_reads_a_whole_table_of_the_inbox() -> None:
    client = signed_in("viewer")
    with CaptureQueriesContext(connection) as asked:
        home(client)
        make()
    statements = [query["sql"] for query in asked.captured_queries]
    assert len(statements) > 30
    plans = {
        statement: plan_of(statement) for statement in statements if statement.lstrip().startswith(("SELECT", "INSERT"))
    }
    for statement, plan in plans.items():
        for line in plan.splitlines():
            is_whole = re.search(r"Seq Scan on webhooks_(delivery|job|attempt|payload)\b", line) or (
                re.match(r"SCAN (webhooks_(delivery|job|attempt|payload)|attempt|job|delivery)\b", line)
                and "INDEX" not in line
            )
            assert not is_whole, f"{statement}\n{plan}"
    assert any("attempt_finished" in plan for plan in plans.values())
    assert any("delivery_received" in plan for plan in plans.values())


def test_the_chart_has_a_word_for_whatever_may_come_of_a_delivery() -> None:
    assert charts.LABELS.keys() == {*measures.RESULTS.values(), measures.REFUSED}
