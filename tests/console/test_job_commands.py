"""`manage.py job` and `manage.py jobs`: the same facts and the same operations, from a terminal of 60 columns."""

import getpass
import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from tests.support.inbox_rows import make_delivery, make_job, state_of
from webhooks.inbox import audit, operations
from webhooks.models import Attempt, Change, Job
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def answer_with(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    asked: list[str] = []

    def answered(question: str) -> str:
        asked.append(question)
        return answer

    monkeypatch.setattr("builtins.input", answered)
    return asked


def test_a_job_is_printed_with_why_it_waits_its_attempts_and_its_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    job = make_job(JobState.RETRYING, due_at=Now() + timedelta(minutes=4, seconds=30), attempt=1, error="\x1b[2Jno")
    Attempt.objects.create(
        job=job, number=1, worker="w" * 80, pid=7, outcome="failed", finished_at=Now(), message="no " * 60,
        traceback="line 41",
    )  # fmt: skip
    audit.record("run_again", who="ana", scope="job", reason="the server is back", jobs=[job.pk])
    text = run("job", str(job.pk))
    assert "Due in 4 min, after attempt 1 of 5 failed." in text
    assert "ana: run again" in text
    assert max(map(len, text.splitlines())) <= 60
    assert "\x1b" not in text
    assert "line 41" not in text
    assert "line 41" in run("job", str(job.pk), "--traceback-of-last")
    told: dict[str, Any] = json.loads(run("job", str(job.pk), "--format", "json"))
    assert (told["state"], told["waiting"]) == ("retrying", "Due in 4 min, after attempt 1 of 5 failed.")
    assert told["attempts"][0]["traceback"] == "line 41"
    assert told["changes"][0]["reason"] == "the server is back"


def test_a_final_job_waits_for_nothing_and_one_that_is_gone_is_said_to_be() -> None:
    assert json.loads(run("job", str(make_job(JobState.DEAD).pk), "--format", "json"))["waiting"] is None
    with pytest.raises(CommandError, match="There is no job 999"):
        run("job", "999")


@pytest.mark.parametrize(("answer", "state"), [("y", "queued"), ("", "dead"), ("no", "dead")])
def test_jobs_are_changed_after_a_question_with_the_exact_count(
    monkeypatch: pytest.MonkeyPatch, answer: str, state: str
) -> None:
    delivery = make_delivery()
    jobs = [make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}") for number in range(3)]
    asked = answer_with(monkeypatch, answer)
    if answer == "y":
        assert "3 jobs queued to run again." in run("jobs", "run-again", "state:dead", "--reason", "it is back")
        change = Change.objects.get()
        assert (change.who, change.reason, change.count) == (getpass.getuser(), "it is back", 3)
        assert change.scope == "all jobs with state:dead"
    else:
        with pytest.raises(CommandError, match="Nothing was changed"):
            run("jobs", "run-again", "state:dead", "--reason", "it is back")
        assert not Change.objects.exists()
    assert asked == ["Run again: 3 jobs? [y/N] "]
    assert {state_of(job) for job in jobs} == {state}


def test_all_of_a_selection_is_changed_in_as_many_parts_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "MOST_AT_ONCE", 2)
    delivery = make_delivery()
    for number in range(5):
        make_job(JobState.DEAD, delivery=delivery, handler=f"shop.{number}")
    other = make_job(JobState.DEAD, handler="shop.other")
    told = json.loads(
        run("jobs", "give-up", "--state", "dead", "--handler", "shop.1", "--reason", "x", "--yes", "--format", "json")
    )
    assert told == {"changed": 1, "left": []}
    assert "5 jobs given up." in run("jobs", "give-up", "state:dead", "--reason", "x", "--yes")
    assert state_of(other) == "skipped"


def test_jobs_are_named_by_number_and_what_is_left_is_said() -> None:
    retrying = make_job(JobState.RETRYING, due_at=Now() + timedelta(hours=1))
    dead = make_job(JobState.DEAD)
    text = run("jobs", "retry-now", "--job", str(retrying.pk), "--job", str(dead.pk), "--reason", "x", "--yes")
    assert "1 job due now. 1 left as it was: 1 dead (dead; it can be run again)." in text
    assert Job.objects.filter(pk=retrying.pk, publish_at__lte=Now()).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["queue:default"], "Name a state, a job or a GUID"),
        ([], "Name a state, a job or a GUID"),
        (["state:gone"], "is no state"),
        (["state:dead", "--job", "1"], "Give either --job or filters"),
        (["state:dead", "--reason", "  "], "say why"),
        (["state:dead", "--format", "json"], "give --yes too"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_changed(arguments: list[str], words: str) -> None:
    job = make_job(JobState.DEAD)
    with pytest.raises(CommandError, match=words):
        run("jobs", "run-again", *arguments, *([] if "--reason" in arguments else ["--reason", "why"]))
    assert state_of(job) == "dead"


def test_with_nobody_there_to_answer_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(JobState.DEAD)

    def end_of_file(_question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", end_of_file)
    with pytest.raises(CommandError, match="Nothing was changed"):
        run("jobs", "run-again", "state:dead", "--reason", "why")
    assert state_of(job) == "dead"
