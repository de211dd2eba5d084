"""The list of deliveries and the page of one: did we get it, what ran, why not, and how it is sent again."""

import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from tests.support.inbox_rows import EVIL, client_of, make_delivery, make_job, make_recovery, page
from tests.support.people import ROLELESS, signed_in
from tests.support.plans import forget_rows
from webhooks.console import keyset, narrowing, payloads, timeline
from webhooks.console.elsewhere import curl_of, links_of
from webhooks.console.search import parse
from webhooks.github.signature import secret_fingerprint, sign
from webhooks.inbox.audit import record
from webhooks.models import Attempt, Delivery, Job, Payload
from webhooks.states import AttemptOutcome, JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

LIST = "/deliveries/"


@pytest.fixture
def viewer() -> Client:
    return signed_in("viewer")


@pytest.fixture
def operator() -> Client:
    return signed_in("operator")


def listed(client: Client, query: str = "") -> list[int]:
    response = client.get(f"{LIST}?{query}")
    assert response.status_code == 200
    return [row["delivery"].pk for row in response.context["rows"]]


def ran(job: Job, number: int, **columns: Any) -> Attempt:
    began = timezone.now() - timedelta(minutes=10 - number)
    values = {"worker": "worker-1@pod", "pid": 7, "started_at": began, "finished_at": began + timedelta(seconds=9)}
    return Attempt.objects.create(
        job=job, number=number, **{"outcome": AttemptOutcome.FAILED, "message": "ValueError: no", **values, **columns}
    )


# --- The list ---------------------------------------------------------------------------------------------------------


def test_the_newest_delivery_comes_first_with_its_jobs_the_dead_before_the_others(viewer: Client) -> None:
    now = timezone.now()
    older = make_delivery(received_at=now - timedelta(hours=2), repeats=3)
    newer = make_delivery(received_at=now, event="pull_request", action="opened")
    for number, state in enumerate([JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.DEAD]):
        make_job(state, delivery=older, handler=f"shop.{number}")
    assert listed(viewer) == [newer.pk, older.pk]
    text = page(viewer, LIST)
    assert text.index('data-state="dead"') < text.index('data-state="succeeded"')
    for shown in ("pull_request.opened", "2 h ago", f"{older.received_at:%Y-%m-%d %H:%M:%S} UTC", "no jobs"):
        assert shown in text
    assert f'data-copy="{older.guid}"' in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=acme%2Fwidget", {"widget"}),
        ("q=acme%2Fwidget*", {"widget", "widgets"}),
        ("repository=acme%2F", {"widget", "widgets"}),
        ("q=event%3Arelease", {"widgets"}),
        ("event=release&repository=zen%2Fzen", set()),
        ("action=opened", {"zen"}),
        ("sender=ana&installation=7", {"zen"}),
        ("q=installation%3A8", set()),
        ("since=90min", {"zen", "widget"}),
        ("since=3h&until=90min", {"widgets"}),
        ("state=dead", {"widget"}),
        ("q=state%3Adead+handler%3Ashop.bill", set()),
        ("q=handler%3Ashop.bill", {"zen"}),
        ("q=error%3Arefused", {"widget"}),
        ("q=queue%3Aslow", {"zen"}),
        ("q=is%3Arecovered", {"widgets"}),
        ("mark=recovered&action=opened", set()),
    ],
)
def test_the_list_is_filtered(viewer: Client, query: str, expected: set[str]) -> None:
    now = timezone.now()
    rows = {
        "widget": make_delivery(repository="acme/widget", received_at=now - timedelta(hours=1)),
        "widgets": make_delivery(repository="acme/widgets", event="release", received_at=now - timedelta(hours=2)),
        "zen": make_delivery(repository="zen/zen", action="opened", sender="ana", installation_id=7, received_at=now),
    }
    make_recovery(rows["widgets"])
    make_job(JobState.DEAD, delivery=rows["widget"], error="Connection REFUSED")
    make_job(JobState.SUCCEEDED, delivery=rows["zen"], handler="shop.bill", queue="slow")
    names = {row.pk: name for name, row in rows.items()}
    assert {names[pk] for pk in listed(viewer, query)} == expected


def test_a_recovered_delivery_is_marked_and_the_mark_leads_to_all_of_them(viewer: Client) -> None:
    make_delivery()
    assert "Recovered from GitHub" not in page(viewer, LIST)
    make_recovery(recovered := make_delivery())
    assert page(viewer, LIST).count('href="?mark=recovered"') == 1
    assert listed(viewer, "mark=recovered") == [recovered.pk]


def test_a_delivery_is_found_by_its_guid_and_by_its_number(viewer: Client) -> None:
    wanted, _ = make_delivery(), make_delivery()
    for term in (str(wanted.guid).upper(), f"guid:{wanted.guid}", str(wanted.pk), f"%23{wanted.pk}"):
        assert listed(viewer, f"q={term}") == [wanted.pk]


def test_a_qualifier_that_is_unknown_is_said_above_the_list_and_changes_nothing_else(viewer: Client) -> None:
    push, _ = make_delivery(), make_delivery(event="release")
    assert listed(viewer, "q=event%3Apush+colour%3A%3Cred%3E") == [push.pk]
    text = page(viewer, f"{LIST}?q=event%3Apush+colour%3A%3Cred%3E")
    assert "“colour:” is unknown here. There are: guid: repo:" in text
    assert "<red>" not in text


def test_the_pages_of_the_list_keep_its_filters_and_no_row_is_lost(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "page_of", lambda *rows, **marks: PAGE_OF(*rows, **marks, size=2))
    wanted = [make_delivery(sender="ana").pk for _ in range(5)]
    make_delivery(sender="bob")
    seen: list[int] = []
    query = "sender=ana"
    for _ in range(3):
        response = viewer.get(f"{LIST}?{query}")
        seen += [row["delivery"].pk for row in response.context["rows"]]
        query = f"sender=ana&after={response.context['page'].after}"
    assert seen == wanted[::-1]
    assert response.context["page"].after == ""
    assert f"?sender=ana&amp;before={response.context['page'].before}" in response.content.decode()


PAGE_OF = keyset.page_of


def test_the_empty_lists_tell_none_there_none_that_match_and_only_the_newest_searched(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No delivery has come yet" in page(viewer, LIST)
    for minutes in range(3):
        make_delivery(sender="bob", received_at=timezone.now() - timedelta(minutes=minutes))
    text = page(viewer, f"{LIST}?q=acme%2Fwid")
    assert "None match" in text
    assert "repository=acme%2Fwid%2A" in text
    monkeypatch.setattr(narrowing, "MOST_SEARCHED", 2)
    assert "None of the newest 2 match" in page(viewer, f"{LIST}?sender=ana")
    assert "Only the newest 2 were searched" in page(viewer, f"{LIST}?sender=bob")
    assert len(listed(viewer, "sender=bob")) == 2
    assert len(listed(viewer, "event=push")) == 3


def test_empty_fields_of_the_form_do_not_stay_in_the_address(viewer: Client) -> None:
    response = viewer.get(f"{LIST}?q=&event=push&sender=+&after=")
    assert (response.status_code, response.headers["Location"]) == (302, f"{LIST}?event=push")


@pytest.mark.parametrize(
    "query",
    ["q=%00", "q=%ED%A0%BD", "after=x", "before=99999999999999999.9", "since=%00", "q=99999999999999999999",
     "installation=9999999999999999999", "q=number:1", "repository=%25_", "until=9999-12-31", "state=gone"],
)  # fmt: skip
def test_nonsense_in_the_address_is_no_error(viewer: Client, query: str) -> None:
    make_delivery()
    assert viewer.get(f"{LIST}?{query}").status_code == (400 if "%00" in query else 200)


def test_the_list_asks_as_many_queries_for_thirty_rows_as_for_one_and_reads_no_payload(viewer: Client) -> None:
    asked = []
    for rows in (1, 29):
        for _ in range(rows):
            make_job(JobState.DEAD)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            page(viewer, LIST)
        asked.append(len(captured))
        statements = " ".join(query["sql"] for query in captured.captured_queries)
        assert "webhooks_payload" not in statements
        assert '"headers"' not in statements
    assert asked[0] == asked[1]


# --- Who may see it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "{pk}/", "guid/{guid}/", "{pk}/payload/", "{pk}/payload/raw/"])
def test_the_pages_are_for_those_alone_who_may_view_deliveries(path: str) -> None:
    delivery = make_delivery()
    url = LIST + path.format(pk=delivery.pk, guid=delivery.guid)
    assert Client().get(url).headers["Location"].startswith("/sign-in/")
    assert signed_in(ROLELESS).get(url).status_code == 403
    for role in ("operator", "administrator"):
        assert signed_in(role).get(url, follow=True).status_code == 200
    assert signed_in("operator").post(url).status_code == 405


def test_who_may_not_view_jobs_sees_none_and_learns_none_by_a_filter() -> None:
    job = make_job(JobState.DEAD, handler="shop.mark", error="boom")
    make_delivery()
    client = client_of("view_delivery")
    assert "shop.mark" not in page(client, f"{LIST}{job.delivery_id}/")
    assert 'data-state="dead"' not in page(client, LIST)
    assert len(listed(client, "q=state%3Adead+error%3Aboom")) == 2
    assert "permission to view them" in page(client, f"{LIST}?state=dead")


def test_a_viewer_sees_no_payload_unless_the_setting_says_so(viewer: Client, settings: Any) -> None:
    delivery = make_delivery(b'{"token": "hush"}')
    paths = [f"{LIST}{delivery.pk}/payload/", f"{LIST}{delivery.pk}/payload/raw/"]
    assert [viewer.get(path).status_code for path in paths] == [403, 403]
    text = page(viewer, f"{LIST}{delivery.pk}/")
    assert "needs the permission to view payloads" in text
    assert "/payload/" not in text
    settings.HOOKLINE_VIEWERS_SEE_PAYLOADS = True
    assert all("hush" in page(viewer, path) for path in paths)


# --- One delivery -----------------------------------------------------------------------------------------------------


def test_the_page_says_what_came_and_when_it_came_again(operator: Client, settings: Any) -> None:
    settings.HOOKLINE_SECRETS = {"github": ["new secret", "old secret"]}
    delivery = make_delivery(
        event="issues", action="opened", sender="ana", installation_id=51000123, hook_id=4711, repeats=2,
        last_repeat_at=timezone.now() - timedelta(hours=2),
        secret_fingerprint=secret_fingerprint("old secret", key=settings.SECRET_KEY),
    )  # fmt: skip
    text = page(operator, f"{LIST}{delivery.pk}/")
    for shown in (
        "issues.opened", f'data-copy="{delivery.guid}"', "ana", "51000123", "github, hook 4711", "acme/widgets",
        delivery.secret_fingerprint, "secret 2 of 2", "Came again 2 times", "2 h ago", "nothing to run",
    ):  # fmt: skip
        assert shown in text, shown
    assert "old secret" not in text


def test_the_timeline_has_each_job_with_its_attempts_the_newest_first_and_who_asked_for_what(operator: Client) -> None:
    job = make_job(JobState.DEAD, attempt=2, created_at=timezone.now() - timedelta(minutes=9, seconds=30))
    ran(job, 1, worker="worker-1@pod")
    ran(job, 2, worker="worker-2@pod", traceback="Traceback: line 41", outcome=AttemptOutcome.SOFT_LIMIT)
    record("run_again", who="ana", scope="job", reason="the mail server is <back>", jobs=[job.pk])
    text = page(operator, f"{LIST}{job.delivery_id}/")
    assert text.index("worker-2@pod") < text.index("worker-1@pod")
    for shown in ("line 41", "soft time limit", "waited 30.0 s, ran 9.0 s", "waited 51.0 s, ran 9.0 s", "2 of 5"):
        assert shown in text, shown
    assert escape("the mail server is <back>") in text
    assert "ana: run again" in text
    assert "data-live" not in text


def test_a_job_that_waits_or_runs_says_so_and_its_page_refreshes_itself(operator: Client) -> None:
    now = timezone.now()
    delivery = make_delivery()
    make_job(JobState.RETRYING, delivery=delivery, handler="shop.a", due_at=now + timedelta(minutes=5), attempt=1)
    make_job(
        JobState.RUNNING, delivery=delivery, handler="shop.b", worker="worker-4@pod", attempt=1,
        claimed_at=now - timedelta(seconds=65), lease_until=now + timedelta(minutes=1),
    )  # fmt: skip
    text = page(operator, f"{LIST}{delivery.pk}/")
    assert "in 4 min" in text
    assert "worker-4@pod" in text
    assert "ran 1 min so far" in text
    assert 'data-live="5"' in text


def test_the_trace_that_its_log_lines_name_is_shown(operator: Client) -> None:
    told = make_delivery(headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    assert "ab" * 16 in page(operator, f"/deliveries/{told.pk}/")
    own = make_delivery()
    assert own.guid.hex in page(operator, f"/deliveries/{own.pk}/")


def test_the_timeline_is_bounded_and_leads_to_the_rest(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST_JOBS", 2)
    delivery = make_delivery()
    jobs = [make_job(JobState.SUCCEEDED, delivery=delivery, handler=f"shop.{number}") for number in range(3)]
    job = make_job(JobState.DEAD, handler="shop.many", attempt=30)
    for number in range(1, 31):
        ran(job, number)
    text = page(operator, f"{LIST}{delivery.pk}/")
    assert "Only its newest 2 jobs" in text
    assert f"?q=guid:{delivery.guid}" in text
    assert f'id="job-{jobs[0].pk}"' not in text
    text = page(operator, f"{LIST}{job.delivery_id}/")
    assert "Only its newest 10 attempts" in text
    assert "attempt 21" in text
    assert "attempt 20" not in text


def test_the_same_event_from_another_hook_is_linked_and_its_guid_lists_both(operator: Client) -> None:
    first = make_delivery(hook_id=4711)
    twin = make_delivery(hook_id=4712, guid=first.guid)
    make_job(JobState.DEAD, delivery=twin)
    text = page(operator, f"{LIST}{first.pk}/")
    assert f'href="{LIST}{twin.pk}/"' in text
    assert "4712" in text
    both = page(operator, f"{LIST}guid/{first.guid}/")
    assert all(f'href="{LIST}{each.pk}/"' in both for each in (first, twin))
    alone = make_delivery()
    assert operator.get(f"{LIST}guid/{alone.guid}/").headers["Location"] == f"{LIST}{alone.pk}/"


@pytest.mark.parametrize(
    "path", ["999/", "99999999999999999999/", "999/payload/", "guid/72d3162e-cc78-11e3-81ab-4c9367dc0958/"]
)
def test_what_is_not_there_is_not_found(operator: Client, path: str) -> None:
    assert operator.get(LIST + path).status_code == 404


def test_nothing_that_came_from_outside_is_markup(operator: Client) -> None:
    delivery = make_delivery(
        json.dumps({EVIL: {EVIL: [EVIL, {}]}}).encode(), repository=EVIL, sender=EVIL, action=EVIL,
        headers={"Content-Type": "application/json", "User-Agent": EVIL},
    )  # fmt: skip
    make_delivery(guid=delivery.guid, hook_id=2, repository=EVIL)
    job = make_job(JobState.DEAD, delivery=delivery, error=EVIL, handler=EVIL, queue=EVIL, result=EVIL)
    ran(job, 0, worker=EVIL, message=EVIL, traceback=EVIL)
    record("run_again", who=EVIL, scope=EVIL, reason=EVIL, jobs=[job.pk])
    for path in ("", f"{delivery.pk}/", f"{delivery.pk}/payload/", f"guid/{delivery.guid}/", f"?sender={EVIL}"):
        text = page(operator, LIST + path)
        assert "<script>alert" not in text, path
        assert path.startswith("guid") or escape("<script>alert") in text, path


# --- The payload ------------------------------------------------------------------------------------------------------


def test_a_payload_is_a_tree_that_folds_loaded_when_it_is_opened(operator: Client) -> None:
    delivery = make_delivery('{"zen": "Größe", "sender": {"login": "ana", "ids": [1, 2.5, null]}}'.encode())
    assert f'hx-get="{LIST}{delivery.pk}/payload/"' in page(operator, f"{LIST}{delivery.pk}/")
    part = operator.get(f"{LIST}{delivery.pk}/payload/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert '<span class="tree-key">zen</span> <code>&quot;Größe&quot;</code>' in part
    assert part.count("<details") == 2
    assert "<html" in page(operator, f"{LIST}{delivery.pk}/payload/")


def test_a_form_is_shown_as_the_json_in_it(operator: Client) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    delivery = make_delivery(b"payload=%7B%22zen%22%3A1%7D", headers=kind)
    assert '<span class="tree-key">zen</span> <code>1</code>' in page(operator, f"{LIST}{delivery.pk}/payload/")


def test_of_a_large_payload_the_first_64_kb_are_read_and_the_page_says_so(operator: Client) -> None:
    delivery = make_delivery(b'{"zen": "' + b"z" * 1_000_000 + b'END"}')
    text = page(operator, f"{LIST}{delivery.pk}/payload/")
    assert "Its first 64 KB" in text
    assert text.count("z" * 65_527) == 1
    assert "z" * 65_528 not in text


def test_of_a_payload_with_many_values_the_first_are_shown_and_the_page_says_so(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = make_delivery(json.dumps({"zen": list(range(payloads.MOST_NODES))}).encode())
    text = page(operator, f"{LIST}{many.pk}/payload/")
    assert "Only its first values" in text
    assert text.count("<li>") == payloads.MOST_NODES
    fewer = make_delivery(json.dumps({"zen": list(range(payloads.MOST_NODES - 1))}).encode())
    assert "Only its first values" not in page(operator, f"{LIST}{fewer.pk}/payload/")


@pytest.mark.parametrize(
    "body", [b'{"a": ' + b"[" * 1023 + b"]" * 1023 + b"}", rb'{"a": "\ud83d"}', b'{"a": "\xed\xa0\xbd"}', b"not JSON"]
)
def test_a_payload_is_shown_however_deep_it_nests_and_with_half_characters(operator: Client, body: bytes) -> None:
    assert "Payload" in page(operator, f"{LIST}{make_delivery(body).pk}/payload/")


def test_a_pruned_payload_is_said_to_be_gone(operator: Client) -> None:
    delivery = make_delivery()
    Payload.objects.all().delete()
    for path in ("", "payload/"):
        assert "has been pruned" in page(operator, f"{LIST}{delivery.pk}/{path}")
    assert operator.get(f"{LIST}{delivery.pk}/payload/raw/").status_code == 404


@pytest.mark.parametrize(
    ("stored", "sent", "suffix"),
    [
        ("application/json; charset=utf-8", "application/json", "json"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded", "txt"),
        ("text/html", "application/octet-stream", "bin"),
    ],
)
def test_a_payload_is_sent_byte_for_byte_to_be_saved(operator: Client, stored: str, sent: str, suffix: str) -> None:
    delivery = make_delivery(b"\xff<script>", headers={"Content-Type": stored})
    response = operator.get(f"{LIST}{delivery.pk}/payload/raw/")
    assert response.content == b"\xff<script>"
    assert response.headers["Content-Type"] == sent
    assert response.headers["Content-Disposition"] == f'attachment; filename="push-{delivery.guid}.{suffix}"'
    assert response.headers["X-Content-Type-Options"] == "nosniff"


# --- Elsewhere --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "hook"),
    [
        ("repository", "/acme/widgets/settings/hooks/4711?tab=deliveries"),
        ("organization", "/organizations/acme/settings/hooks/4711?tab=deliveries"),
        ("integration", None),
    ],
)
@pytest.mark.parametrize("base", ["https://github.com", "https://github.acme.example"])
def test_the_page_links_to_the_repository_and_to_the_hooks_recent_deliveries(
    target: str, hook: str | None, base: str
) -> None:
    delivery = make_delivery(hook_id=4711, headers={"X-GitHub-Hook-Installation-Target-Type": target})
    delivery.source.url = base
    assert [link.url for link in links_of(delivery)] == [
        f"{base}/acme/widgets", *([f"{base}{hook}"] if hook else [])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "repository"),
    [("javascript:alert(1)", "acme/widgets"), ("https://a:b@x.org", "acme/widgets"), ("https://x.org", EVIL)],
)
def test_nothing_is_linked_that_is_no_page_of_the_source(base: str, repository: str) -> None:
    delivery = make_delivery(repository=repository)
    delivery.source.url = base
    assert not links_of(delivery)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_the_line_that_sends_it_again_signs_it_as_github_does_and_runs_nothing_else(tmp_path: Path) -> None:
    body = b'{"zen": "Keep it"}'
    delivery = make_delivery(body, headers={"Content-Type": "application/json", "X-GitHub-Event": "'; touch evil; '"})
    (tmp_path / payloads.file_name(delivery)).write_bytes(body)
    line = curl_of(delivery, url="https://hooks.acme.example/webhooks/github")
    secret = "it's a secret"
    script = f"""curl() {{ printf '%s\\n' "$@"; }}\n{line}\n"""
    told = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={"SECRET": secret, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert f"X-Hub-Signature-256: {sign(body, secret)}" in told
    assert "X-GitHub-Event: '; touch evil; '" in told
    assert told[-1] == "https://hooks.acme.example/webhooks/github"
    assert [each.name for each in tmp_path.iterdir()] == [payloads.file_name(delivery)]


def test_flower_is_linked_where_its_address_is_known(operator: Client, settings: Any) -> None:
    url = f"{LIST}{make_delivery().pk}/"
    settings.HOOKLINE_FLOWER_PREFIX = "flower"
    assert 'href="/flower/"' in page(operator, url)
    settings.HOOKLINE_FLOWER_PREFIX = ""
    assert f":{settings.HOOKLINE_FLOWER_PORT}/" in page(operator, url)
    settings.HOOKLINE_ENVIRONMENT = "production"
    assert "Flower" not in page(operator, url)


def test_each_attempt_is_linked_to_its_page_in_flower(operator: Client, settings: Any) -> None:
    job = make_job(JobState.DEAD, attempt=2)
    Attempt.objects.bulk_create(Attempt(job=job, number=number, worker="w", pid=7) for number in (1, 2))
    settings.HOOKLINE_FLOWER_PREFIX = "flower"
    for url in (f"{LIST}{job.delivery_id}/", f"/jobs/{job.pk}/"):
        assert f'href="/flower/task/{job.pk}-2"' in page(operator, url)
        assert f'href="/flower/task/{job.pk}-1"' in page(operator, url)
    settings.HOOKLINE_JOB_EVENTS = False
    assert "/flower/task/" not in page(operator, url)


# --- Ten million rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("", "delivery_received"),
        ("since:2h until:1h", "delivery_received"),
        ("event:push", "delivery_event"),
        ("repo:acme/widgets", "delivery_repository"),
        ("guid:72d3162e-cc78-11e3-81ab-4c9367dc0958", "delivery_guid"),
        ("sender:ana", "delivery_received"),
        ("is:recovered", "delivery_received"),
        ("repo:acme/ state:dead error:boom", "delivery_received"),
        ("repo:acme/widgets event:push sender:ana", "delivery_repository"),
    ],
)
def test_each_search_reads_its_page_from_an_index_in_the_lists_order(text: str, index: str) -> None:
    forget_rows("webhooks_delivery")
    found = narrowing.deliveries(parse(text)).rows.select_related("source", "recovery")
    is_few = index == "delivery_guid"
    plan = plan_of(found.order_by("-received_at", "-id")[:51], may_sort=is_few)
    assert index in plan, plan
    assert is_few or not any(word in plan for word in ("TEMP B-TREE", "Sort")), plan
    assert "Seq Scan" not in plan, plan


def plan_of(rows: Any, *, may_sort: bool) -> str:
    """Return the database's plan; PostgreSQL's with so few rows that it would sort them, were it free to."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
            cursor.execute(f"SET LOCAL enable_sort = {'on' if may_sort else 'off'}")
    return str(rows.explain())


def test_a_filter_without_an_index_looks_at_no_older_rows_than_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrowing, "MOST_SEARCHED", 2)
    now = timezone.now()
    for minutes in range(4):
        make_delivery(sender="ana", event="release", received_at=now - timedelta(minutes=minutes))
        make_delivery(sender="ana", received_at=now - timedelta(minutes=minutes, seconds=30))
    found = narrowing.deliveries(parse("event:release sender:ana"))
    assert found.most_searched == "2"
    assert Delivery.objects.filter(pk__in=found.rows, event="release").count() == 2
    assert narrowing.deliveries(parse("event:release")).rows.count() == 4
