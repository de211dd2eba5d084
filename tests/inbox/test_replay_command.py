"""`manage.py replay`: the exact count first, then a replay; the dry run, Ctrl-C, the list and the end of one."""

import time
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.inbox.test_replays import BILL, COUNT, dead, end_all
from tests.support.inbox_rows import make_delivery
from webhooks.inbox.replays import running
from webhooks.management.account import account
from webhooks.models import Job, Replay
from webhooks.states import JobState
from webhooks.subscriptions import installed
from webhooks.subscriptions.subscription import Subscriptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_subscriptions", Subscriptions([COUNT, BILL]))


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("replay", *arguments, stdout=out)
    return out.getvalue()


def test_a_dry_run_counts_by_handler_and_runs_nothing() -> None:
    dead(2)
    dead(1, handler="shop.bill", queue="io")
    text = said("--dry-run")
    assert [line.split() for line in text.splitlines()[:3]] == [
        ["1", "shop.bill"], ["2", "shop.count"], ["3", "dead", "jobs"],
    ]  # fmt: skip
    assert not Replay.objects.exists()


def test_it_begins_a_replay_and_shows_it_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    dead(2)

    def relay(_seconds: float) -> None:
        running.step()
        end_all()

    monkeypatch.setattr(time, "sleep", relay)
    text = said("--reason", "mail is back", "--rate", "50", "--yes")
    replay = Replay.objects.get()
    assert (replay.asked_by, replay.reason, replay.rate) == (account(), "mail is back", 50)
    assert f"Replay {replay.pk} is finished: 2 succeeded, 0 failed, 0 skipped." in text


def test_ctrl_c_leaves_it_running_and_says_how_to_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dead(1)

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    text = said("--reason", "r", "--yes")
    replay = Replay.objects.get()
    assert f"Replay {replay.pk} goes on. To end it: manage.py replay --cancel {replay.pk}" in text
    assert replay.state == Replay.State.RUNNING
    assert f"{replay.pk}" in said("--list")
    assert "Cancelled. 0 of its jobs" in said("--cancel", str(replay.pk))
    with pytest.raises(CommandError, match="no replay"):
        said("--cancel", str(replay.pk))


def test_missing_jobs_are_made() -> None:
    make_delivery()
    said("--handler", "shop.count", "--missing", "--reason", "r", "--yes", "--no-wait")
    running.step()
    assert Job.objects.get().state == JobState.QUEUED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--missing",), "name it"),
        (("--yes",), "--reason"),
        (("--reason", "r"), "say yes"),
        (("--rate", "0"), "rate"),
        (("--since", "soon"), "since"),
    ],
)
def test_what_is_lacking_or_wrong_is_said_and_nothing_begins(arguments: tuple[str, ...], words: str) -> None:
    dead(1)
    with pytest.raises(CommandError, match=words):
        said(*arguments)
    assert not Replay.objects.exists()


def test_nothing_to_do_is_no_error() -> None:
    outcome: Any = said("--handler", "shop.count")
    assert outcome.split() == ["0", "dead", "jobs", "of", "shop.count"]
    assert "No replay exists." in said("--list")
