"""The secrets that a running receiver verifies with: changed while it runs, kept through an outage, ended in time."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.forwarding import forwarding
from tests.support.processes import wait_until
from tests.support.stack import Stack, fresh_postgres, http, running_stack
from webhooks.encryption import new_key

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
SENDERS = 4
KEY = new_key()
WITHOUT = "github has no secret: its deliveries are refused"


@pytest.fixture(params=DATABASES)
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    given = {"HOOKLINE_ENCRYPTION_KEYS": KEY, "HOOKLINE_RECEIVER_THREADS": "2"}
    with running_stack(tmp_path, database=request.param, broker="filesystem", **given) as stack:
        stack.migrate()
        stack.start("receiver")
        stack.wait_until_ready()
        yield stack


def add(stack: Stack, *options: str) -> str:
    return stack.manage("secrets", "add", *options).strip()


def listed(stack: Stack) -> list[dict[str, Any]]:
    [source] = json.loads(stack.manage("secrets", "list", "--format", "json"))
    found: list[dict[str, Any]] = source["secrets"]
    return found


def status(stack: Stack, secret: str = "") -> int:
    return stack.send("work", secret=secret)[0]


def wait_for(stack: Stack, expected: int, secret: str) -> None:
    wait_until(lambda: status(stack, secret) == expected, seconds=30, what=f"the secret to be answered with {expected}")


def lines(stack: Stack, words: str) -> list[str]:
    return [line for line in stack.logs().splitlines() if words in line]


def ready(stack: Stack) -> dict[str, Any]:
    answer = http.request("GET", f"http://127.0.0.1:{stack.port}/readyz", timeout=10)
    found: dict[str, Any] = json.loads(answer.data)
    return found


class Senders:
    """Threads that sign with what `secret` is at that moment, one delivery after another."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.secret = stack, stack.secret
        self.answers: Counter[int] = Counter()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def switch(self, secret: str) -> None:
        """Sign with another secret, and return once nothing is under way that the one before has signed."""
        self.secret = secret
        self.wait_for_more(2 * SENDERS)

    def wait_for_more(self, count: int) -> None:
        before = self.answers.total()
        wait_until(lambda: self.answers.total() >= before + count, seconds=60, what="more answers")

    def _send(self) -> None:
        while not self._stop.is_set():
            answer = status(self.stack, self.secret)
            with self._lock:
                self.answers[answer] += 1


def test_a_secret_is_rotated_under_load_with_no_delivery_refused(stack: Stack) -> None:
    first = add(stack)
    wait_for(stack, 202, first)
    with Senders(stack) as senders:
        senders.switch(first)
        senders.wait_for_more(50)
        second = add(stack, "--note", "rotation")
        wait_for(stack, 202, second)
        senders.switch(second)
        senders.wait_for_more(50)
        fingerprint = listed(stack)[1]["fingerprint"]
        stack.manage("secrets", "retire", fingerprint, "--force", "--reason", "rotated")
        senders.wait_for_more(50)
        wait_for(stack, 401, first)
        senders.wait_for_more(50)
    assert senders.answers.keys() == {202}
    assert senders.answers.total() > 200
    stored = stack.rows("SELECT count(*) FROM webhooks_delivery")[0][0]
    assert stored >= senders.answers.total()


def test_each_delivery_names_the_secret_that_signed_it_and_the_list_says_when_it_last_did(stack: Stack) -> None:
    secret = add(stack)
    wait_for(stack, 202, secret)
    [_, kept] = listed(stack)
    marks = {row[0] for row in stack.rows("SELECT secret_fingerprint FROM webhooks_delivery")}
    assert marks == {kept["fingerprint"]}
    wait_until(lambda: listed(stack)[1]["last_used_at"] is not None, seconds=30, what="the use to be noted")
    [given, kept] = listed(stack)
    assert "GitHub still signs with it" in kept["standing"]
    assert given["standing"] == "has not matched yet"


@pytest.mark.parametrize("stack", ["sqlite"], indirect=True)
def test_the_last_use_of_a_secret_of_the_environment_is_noted_too(stack: Stack) -> None:
    assert status(stack) == 202
    wait_until(lambda: listed(stack)[0]["last_used_at"] is not None, seconds=30, what="the use to be noted")
    uses = stack.rows("SELECT last_used_at FROM webhooks_secretuse")
    for _ in range(5):
        assert status(stack) == 202
    assert stack.rows("SELECT last_used_at FROM webhooks_secretuse") == uses


def test_a_secret_verifies_until_its_end_and_no_longer(stack: Stack) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=12)
    secret = add(stack, "--not-after", ends.isoformat())
    wait_for(stack, 202, secret)
    wait_for(stack, 401, secret)
    assert datetime.now(UTC) > ends - timedelta(seconds=1)
    assert status(stack) == 202


@pytest.mark.parametrize("stack", ["sqlite"], indirect=True)
def test_a_secret_that_no_key_opens_is_logged_once_and_costs_the_others_nothing(stack: Stack) -> None:
    lost = add(stack)
    stack.stop_all("receiver")
    stack.environment["HOOKLINE_ENCRYPTION_KEYS"] = new_key()
    stack.start("receiver")
    stack.wait_until_ready()
    kept = add(stack)
    wait_for(stack, 202, kept)
    assert (status(stack), status(stack, lost)) == (202, 401)
    wait_until(lambda: len(listed(stack)) == 3, what="both to be listed")
    [line] = lines(stack, "cannot be decrypted")
    [unreadable] = [one["fingerprint"] for one in listed(stack) if one["state"] == "unreadable"]
    assert unreadable in line
    assert lost not in stack.logs()
    assert "cannot be decrypted" in ready(stack)["reasons"][0]


@pytest.mark.parametrize("stack", ["sqlite"], indirect=True)
def test_no_secret_is_in_a_log_or_in_the_clear_in_the_database(stack: Stack) -> None:
    secret = add(stack)
    wait_for(stack, 202, secret)
    assert secret not in stack.logs()
    held = b"".join(file.read_bytes() for file in stack.directory.glob("hookline.sqlite3*"))
    assert listed(stack)[1]["fingerprint"].encode() in held
    assert secret.encode() not in held


@pytest.mark.postgres
@pytest.mark.parametrize("how", ["cut", "hush"])
def test_the_last_known_secrets_stay_while_the_database_is_down_or_silent(tmp_path: Path, how: str) -> None:
    with fresh_postgres() as url, forwarding(url) as line:
        given = {"HOOKLINE_ENCRYPTION_KEYS": KEY, "DATABASE_URL": line.url}
        with running_stack(tmp_path, database="sqlite", broker="filesystem", **given) as stack:
            stack.migrate()
            stack.start("receiver")
            stack.wait_until_ready()
            secret = add(stack)
            wait_for(stack, 202, secret)
            getattr(line, how)()
            wait_for(stack, 503, secret)  # Verified, and not stored: a secret that is not known is answered with 401.
            assert status(stack, "a secret that nobody has given") == 401
            wait_until(lambda: bool(lines(stack, "source secrets not refreshed")), seconds=30, what="the log to say so")
            assert status(stack, secret) == 503
            line.mend()
            wait_for(stack, 202, secret)
            later = add(stack)
            wait_for(stack, 202, later)


@pytest.mark.postgres
def test_a_receiver_that_has_not_read_the_secrets_yet_refuses_nothing_for_good(tmp_path: Path) -> None:
    with fresh_postgres() as url, forwarding(url) as line:
        given = {"HOOKLINE_ENCRYPTION_KEYS": KEY, "DATABASE_URL": line.url}
        with running_stack(tmp_path, database="sqlite", broker="filesystem", **given) as stack:
            stack.migrate()
            secret = add(stack)
            line.cut()
            stack.start("receiver")
            stack.wait_until_ready()
            assert status(stack, secret) == 503
            line.mend()
            wait_for(stack, 202, secret)


PRODUCTION = {
    "HOOKLINE_ENVIRONMENT": "production",
    "SECRET_KEY": "a key of the tests, as long as Django wants its keys to be",
    "ALLOWED_HOSTS": "127.0.0.1",
    "BROKER_URL": "amqp://127.0.0.1:1//",
    "HOOKLINE_OPERATOR_PASSWORD": "a password of the tests",
}


@pytest.mark.postgres
def test_in_production_all_secrets_of_a_source_may_be_in_the_database(tmp_path: Path) -> None:
    given = PRODUCTION | {"HOOKLINE_ENCRYPTION_KEYS": KEY}
    with running_stack(tmp_path, database="postgres", broker="filesystem", **given) as stack:
        stack.secret = ""
        stack.migrate()
        stack.start("receiver")
        stack.wait_until_ready()
        [line] = lines(stack, "has no secret")
        assert WITHOUT in line
        assert WITHOUT in ready(stack)["reasons"]
        assert gauge(stack) == 0.0
        secret = add(stack, "--not-after", f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}")
        wait_for(stack, 202, secret)
        assert WITHOUT not in ready(stack)["reasons"]
        left = gauge(stack)
        assert left is not None
        assert 7 * 86_400 < left < 9 * 86_400
        wait_for(stack, 202, add(stack))
        assert gauge(stack) is None


def gauge(stack: Stack) -> float | None:
    """Return hookline_secret_expires_seconds, or None if it is not shown."""
    text = http.request("GET", f"http://127.0.0.1:{stack.port}/metrics", timeout=10).data.decode()
    found = [line for line in text.splitlines() if line.startswith('hookline_secret_expires_seconds{source="github"}')]
    return float(found[0].split()[-1]) if found else None
