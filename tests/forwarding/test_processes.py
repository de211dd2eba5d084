"""Forwarding by real processes: a receiver, a relay and workers, and a target that answers as it is told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.support.forwarding import forwarding
from tests.support.processes import wait_until
from tests.support.stack import Stack, fresh_postgres, running_stack
from tests.support.targets import Got, Says, Target, target
from webhooks.encryption import new_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "token-that-nobody-may-see"


PRODUCTION = pytest.param(("postgres", "rabbitmq"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq])


@pytest.fixture(params=[("sqlite", "filesystem"), PRODUCTION], ids="-".join)
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    database, broker = request.param
    with running_stack(tmp_path, database=database, broker=broker, HOOKLINE_DESTINATION_KEYS=new_key()) as one:
        one.start_all()
        yield one


@pytest.fixture
def there() -> Iterator[Target]:
    with target() as one:
        yield one


def make(stack: Stack, name: str, url: str, **values: object) -> None:
    """Make a destination and switch it on, in a process of its own, as the console would."""
    given = {"events": ["repository_dispatch"], "url": url, "allow_private": True, "backoff_seconds": 0.1, **values}
    secrets = given.pop("secrets", "Secrets()")
    stack.manage(
        "shell",
        "-c",
        "from webhooks.inbox.destinations.changing import *\n"
        f"create({name!r}, {given!r}, {secrets}, who='ana'); switch({name!r}, on=True, who='ana')",
    )


def send_until_forwarded(stack: Stack, there: Target) -> Got:
    """Send deliveries until one is forwarded: the receiver looks for changes once a second."""
    before = len(there.got)

    def is_forwarded() -> bool:
        assert stack.send("ignored")[0] == 202
        return len(there.got) > before

    wait_until(is_forwarded, what="a delivery to be forwarded")
    return there.got[before]


def test_a_new_destination_is_served_by_running_processes_and_signs_what_it_sends(stack: Stack, there: Target) -> None:
    secrets = f"Secrets(headers={{'X-Token': {TOKEN!r}}}, signing_secret={SECRET!r})"
    make(stack, "standard", there.url, signing="standard", secrets=secrets)
    got = send_until_forwarded(stack, there)
    assert json.loads(got.body)["action"] == "ignored"
    assert Webhook(SECRET).verify(got.body, dict(got.headers)) == json.loads(got.body)
    assert got.headers["x-github-event"] == "repository_dispatch"
    assert got.headers["x-token"] == TOKEN
    stack.wait_until_drained()
    [(message,)] = stack.rows("SELECT message FROM webhooks_attempt WHERE outcome = 'succeeded' ORDER BY id LIMIT 1")
    assert message.startswith("200 in ")
    assert TOKEN not in stack.logs()
    assert SECRET not in stack.logs()


def test_what_a_target_refuses_is_in_the_attempt_and_what_waits_for_a_deleted_one_ends_as_dead(
    stack: Stack, there: Target
) -> None:
    there.answer = lambda number, _got: Says(500 if number == 1 else 404, body=f"not for {TOKEN}".encode())
    make(stack, "strict", there.url, secrets=f"Secrets(headers={{'X-Token': {TOKEN!r}}})")
    make(stack, "away", there.url)
    stack.manage(
        "shell", "-c", "from webhooks.inbox import pauses; pauses.pause(handler='forward.away', reason='x', who='ana')"
    )
    send_until_forwarded(stack, there)
    of_strict = "FROM webhooks_attempt JOIN webhooks_job ON job_id = webhooks_job.id WHERE handler = 'forward.strict'"

    def attempts() -> list[tuple[str, str, str]]:
        return stack.rows(f"SELECT outcome, message, traceback {of_strict} ORDER BY webhooks_attempt.id")

    wait_until(lambda: {outcome for outcome, *_ in attempts()} == {"failed", "gave_up"}, what="both answers")
    messages = {message.split(" in ")[0] for _, message, _ in attempts()}
    assert messages == {"500", "404"}
    assert all("The answer began:\nnot for •••" in text for *_, text in attempts())
    assert TOKEN not in stack.logs()

    of_away = "SELECT DISTINCT state, error FROM webhooks_job WHERE handler = 'forward.away'"

    def waits() -> bool:
        assert stack.send("ignored")[0] == 202  # The receiver may know of one destination before the other.
        return stack.rows(of_away) == [("queued", "")]

    wait_until(waits, what="a job of the paused destination")
    stack.manage(
        "shell",
        "-c",
        "from webhooks.inbox import pauses; from webhooks.inbox.destinations import changing\n"
        "changing.delete('away', who='ana'); pauses.resume(handler='forward.away', who='ana')",
    )
    wait_until(lambda: stack.rows(of_away) == [("dead", "The destination away was deleted.")], what="them to end")


@pytest.mark.postgres
def test_a_receiver_that_has_not_read_the_destinations_yet_stores_nothing_past_them(tmp_path: Path) -> None:
    with fresh_postgres() as url, forwarding(url) as line:
        given = {"DATABASE_URL": line.url, "HOOKLINE_DESTINATION_KEYS": new_key()}
        with running_stack(tmp_path, database="sqlite", broker="filesystem", **given) as stack:
            stack.migrate()
            make(stack, "standard", "https://chat.example.com/hook")
            line.cut()
            stack.start("receiver")
            stack.wait_until_ready()
            assert stack.send("ignored")[0] == 503
            line.mend()
            answers: list[Any] = []

            def is_taken_in() -> bool:
                answers.append(stack.send("ignored"))
                return bool(answers[-1][0] == 202)

            wait_until(is_taken_in, what="the first delivery to be taken in")
            assert answers[-1][1]["jobs"] == 1
