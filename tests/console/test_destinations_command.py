"""`manage.py destinations`: what it prints in which form, what it changes, and with what it refuses."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.support.inbox_rows import make_job
from webhooks.encryption import HiddenKeys, new_key
from webhooks.inbox.destinations import breaker, changing
from webhooks.inbox.destinations.changing import Secrets, stored_headers
from webhooks.models import Change, Destination, Job
from webhooks.states import JobState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

PATH, TOKEN, SECRET = "services/T0KEN", "Bearer abcdefghijkl", "a secret of the signature"


@pytest.fixture(autouse=True)
def keys(settings: Any) -> None:
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys([new_key()])


def made(name: str = "chat", *, on: bool = True) -> Destination:
    values = {"events": ["push"], "url": f"https://chat.example.com/{PATH}", "signing": "github"}
    row = changing.create(name, values, Secrets({"X-Token": TOKEN}, SECRET), who="ana")
    if on:
        changing.switch(name, on=True, who="ana")
    return row


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("destinations", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("columns", ["60", "120"])
def test_the_list_fits_the_terminal_and_says_what_fails_and_what_waits(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    assert "There is no destination" in run("list")
    monkeypatch.setenv("COLUMNS", columns)
    row = made()
    make_job(JobState.QUEUED, handler=row.handler, queue=row.queue)
    breaker.failed("chat", job_id=1, why="500 in 3 ms")
    out = run("list")
    assert max(map(len, out.splitlines())) <= int(columns)
    [line] = [line for line in out.splitlines() if line.startswith("chat ")]
    assert line.split()[1] == "failing"
    assert " 1 " in line
    assert "chat: 1 failures in a row; 500 in 3 ms" in out
    assert ("https://chat.example.com" in out) is (columns == "120")
    assert PATH not in out


def test_the_list_for_scripts_has_each_destination_and_no_secret() -> None:
    made("audit", on=False), made()
    out = run("list", "--format", "json")
    assert [(one["name"], one["state"], one["sends_to"], one["waiting"]) for one in json.loads(out)] == [
        ("audit", "off", "https://chat.example.com", 0),
        ("chat", "on", "https://chat.example.com", 0),
    ]
    for secret in (PATH, TOKEN, SECRET):
        assert secret not in out


def test_a_test_makes_a_job_also_while_the_destination_is_off() -> None:
    row = made(on=False)
    out = run("test", "chat")
    [job] = Job.objects.filter(handler=row.handler)
    assert f"manage.py job {job.pk}" in out


def test_it_is_paused_with_a_reason_and_resumed_and_both_are_in_the_audit() -> None:
    made()
    with pytest.raises(CommandError, match="say why"):
        run("pause", "chat", "--reason", " ")
    assert "manage.py destinations resume chat" in run("pause", "chat", "--reason", "their maintenance")
    assert not Destination.objects.get().is_enabled
    with pytest.raises(CommandError, match="chat is paused already"):
        run("pause", "chat", "--reason", "again")
    run("resume", "chat")
    assert Destination.objects.get().is_enabled
    with pytest.raises(CommandError, match="chat is not paused"):
        run("resume", "chat")
    on, off = Change.objects.order_by("-pk")[:2]
    assert (off.action, off.reason, on.action) == ("switch_off", "their maintenance", "switch_on")


@pytest.mark.parametrize("arguments", [["test"], ["pause", "--reason", "x"], ["resume"]])
def test_one_that_is_not_there_is_named_with_those_that_are(arguments: list[str]) -> None:
    made()
    with pytest.raises(CommandError, match=r"There is no destination chatt\. There are: chat\."):
        run(*arguments, "chatt")


def test_after_keys_are_rotated_the_old_one_opens_nothing_and_is_not_needed(settings: Any) -> None:
    made(), made("bare")
    changing.change(Destination.objects.get(name="bare").pk, {}, Secrets({}, ""), who="ana")
    [old] = settings.HOOKLINE_DESTINATION_KEYS
    new = new_key()
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys([new, old])
    assert "Encrypted the secrets of 2 destinations" in run("rotate-keys")
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys([new])
    row = Destination.objects.get(name="chat")
    assert stored_headers(row) == {"X-Token": TOKEN}
    bare = Destination.objects.get(name="bare")
    assert (bare.headers, bare.signing_secret) == ("", "")


def test_what_no_key_opens_is_named_and_left_and_the_others_are_done(settings: Any) -> None:
    made("lost")
    lost = Destination.objects.get().headers
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys([new_key()])
    made()
    with pytest.raises(CommandError, match=r"with any key: lost\."):
        run("rotate-keys")
    assert Destination.objects.get(name="lost").headers == lost
    settings.HOOKLINE_DESTINATION_KEYS = HiddenKeys()
    with pytest.raises(CommandError, match="HOOKLINE_DESTINATION_KEYS holds no key"):
        run("rotate-keys")
