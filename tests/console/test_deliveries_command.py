"""`manage.py deliveries`: the console's filters on a terminal, and one delivery with its timeline."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.support.inbox_rows import make_delivery, make_job
from webhooks.console import narrowing
from webhooks.inbox.audit import record
from webhooks.models import Attempt
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def told(*words: str, **options: Any) -> str:
    out = StringIO()
    call_command("deliveries", *words, stdout=out, **options)
    return out.getvalue()


def found(*words: str, **options: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(told(*words, format="json", **options))
    return answer


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_the_list_takes_the_search_and_the_filters_of_the_console() -> None:
    push = make_delivery(sender="ana")
    make_job(JobState.DEAD, delivery=push, error="connection refused")
    make_delivery(event="release")
    for words, options in (
        (["event:push"], {}),
        ([], {"event": "push"}),
        (["acme/widgets", "state:dead"], {"sender": "ana"}),
        (["error:connection refused"], {"since": "1h"}),
    ):
        assert [each["delivery"] for each in found(*words, **options)["deliveries"]] == [push.pk]


def test_the_json_has_its_whole_shape_and_no_payload() -> None:
    delivery = make_delivery(b'{"token": "hush"}', action="opened", hook_id=4711, installation_id=7)
    make_job(JobState.DEAD, delivery=delivery)
    answer = found()
    assert answer == {
        "deliveries": [
            {
                "delivery": delivery.pk, "guid": str(delivery.guid), "event": "push", "action": "opened",
                "repository": "acme/widgets", "sender": "", "installation": 7, "source": "github", "hook": 4711,
                "received_at": answer["deliveries"][0]["received_at"], "repeats": 0, "last_repeat_at": None,
                "bytes": 17, "secret_fingerprint": "", "job_states": {"dead": 1},
            }
        ],
        "has_more": False,
        "only_newest": None,
    }  # fmt: skip


@pytest.mark.parametrize("by", ["number", "guid"])
def test_one_is_shown_with_its_timeline_by_its_number_or_its_guid(by: str) -> None:
    began = timezone.now() - timedelta(seconds=30)
    delivery = make_delivery(repeats=2, last_repeat_at=began)
    job = make_job(JobState.RETRYING, delivery=delivery, attempt=1, due_at=timezone.now() + timedelta(minutes=5))
    Attempt.objects.create(
        job=job, number=1, worker="worker-1@pod", pid=7, started_at=began, finished_at=began + timedelta(seconds=9),
        outcome="failed", message="ValueError: no\x1b[2J",
    )  # fmt: skip
    record("run_again", who="ana", scope="job", reason="the mail server is back", jobs=[job.pk])
    word = str(delivery.pk if by == "number" else delivery.guid)
    text = told(word)
    for shown in (
        str(delivery.guid), "came again 2 times", f"job {job.pk} shop.count: retrying, 1 of 5 attempts", "in 4 min",
        "run again by ana", "the mail server is back", "attempt 1 failed", "ran 9.0 s, worker-1@pod",
        "ValueError: no·[2J",
    ):  # fmt: skip
        assert shown in text, shown
    [shown_job] = found(word)["deliveries"][0]["jobs"]
    assert [run["outcome"] for run in shown_job["attempts"]] == ["failed"]
    assert [change["who"] for change in shown_job["changes"]] == ["ana"]


def test_a_guid_of_two_hooks_shows_both() -> None:
    first = make_delivery(hook_id=4711)
    make_delivery(hook_id=4712, guid=first.guid)
    text = told(str(first.guid))
    assert "same event from hook 4711" in text
    assert "same event from hook 4712" in text


@pytest.mark.parametrize("columns", [60, 90, 120])
def test_the_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    delivery = make_delivery(event="installation_repositories", action="added", repository="acme/" + "w" * 80)
    text = told()
    assert max(map(len, text.splitlines())) <= columns
    assert ("GUID" in text, str(delivery.guid) in text) == (columns >= 80, columns >= 110)


def test_it_says_what_is_left_out_and_why_nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "None match." in told()
    now = timezone.now()
    for minutes in range(3):
        make_delivery(sender="bob", received_at=now - timedelta(minutes=minutes))
    assert "There are more" in told(limit=2)
    assert found(limit=2)["has_more"] is True
    monkeypatch.setattr(narrowing, "MOST_SEARCHED", 2)
    assert "Only the newest 2 were searched." in told("sender:bob")
    assert "None of the newest 2 match." in told("sender:ana")
    assert found("sender:ana")["only_newest"] == 2


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (["colour:red"], {}, "“colour:” is unknown here"),
        ([], {"state": "broken"}, "is no state"),
        ([], {"limit": 0}, "--limit must be from 1 to"),
    ],
)
def test_what_is_not_understood_stops_it(words: list[str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        told(*words, **options)
