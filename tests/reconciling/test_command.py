"""`manage.py reconcile`: what it says, and its exit status; and the process that watches."""

import json
import logging
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from prometheus_client import generate_latest
from rich.console import Console

from tests.support.github.log import Hook
from tests.support.github.reading import PUSH, access_of
from tests.support.github.server import TOKEN, GitHub
from tests.system.test_metrics import documented
from webhooks.management.commands import reconcile
from webhooks.management.pass_progress import PassProgress
from webhooks.models import Delivery, HookLog, LogPass
from webhooks.reconciling import passes, running, watching
from webhooks.reconciling.health import ReconcilerHealth
from webhooks.reconciling.running import Options
from webhooks.reconciling.watching import Watching

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process's signals alone."""
    monkeypatch.setattr(reconcile, "stop_at_signal", lambda stop, *, seconds: None)


def said(*arguments: str, status: int = 0) -> str:
    out = StringIO()
    with pytest.raises(SystemExit, match=f"^{status}$") if status else nullcontext():
        call_command("reconcile", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def young(hook: Hook) -> Hook:
    hook.created_at = hook._now() - timedelta(hours=5)
    return hook


def test_it_ends_with_0_once_all_is_taken_in_and_says_how_much(young: Hook) -> None:
    young.add("push", PUSH)
    header, row = said().splitlines()
    assert header.split()[:3] == ["SOURCE", "HOOK", "PASS"]
    assert row.split() == ["github", "app", "complete", "1", "1", "0", "4"]


def test_it_ends_with_1_and_says_why_if_something_is_or_may_be_missing(hook: Hook) -> None:
    hook.add("push", PUSH, is_gone=True)
    text = said(status=1)
    assert "incomplete" in text
    assert "UTC has left its log unseen; 1 delivery cannot be recovered" in " ".join(text.split())


def test_scripts_get_json(young: Hook) -> None:
    young.add("push", PUSH)
    [found] = json.loads(said("--format", "json", "--dry-run"))
    assert (found["state"], found["recovered"], found["pass"], found["mode"]) == ("complete", 1, None, "recover")
    [found] = json.loads(said("--format", "json"))
    assert found["pass"] == LogPass.objects.get().pk
    assert found["until"] is not None
    assert (found["gap_until"], found["reason"]) == (None, "")


def test_a_log_that_another_process_reads_is_said_and_the_others_are_read(
    github: GitHub, young: Hook, settings: Any
) -> None:
    access = settings.HOOKLINE_GITHUB_ACCESS["github"]
    settings.HOOKLINE_GITHUB_ACCESS = {"github": {**access, "token": TOKEN, "hooks": ["orgs/acme/hooks/12"]}}
    other = github.hook("orgs/acme/hooks/12")
    other.created_at = github.now()
    other.add("push", PUSH)
    assert passes.hold(passes.log_of(access_of())) is not None
    found = json.loads(said("--format", "json", status=1))
    assert [(one["hook"], one["state"]) for one in found] == [("app", "busy"), ("orgs/acme/hooks/12", "complete")]
    assert Delivery.objects.count() == 1
    assert "another process reads this log" in said(status=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--source", "ghes"], "There is no source ghes"),
        (["--watch", "--dry-run"], "--watch goes with neither"),
        (["--watch", "--since", "2026-11-20"], "--watch goes with neither"),
        (["--since", "yesterday"], "--since: invalid"),
        (["--since", "2999-01-01T00:00"], "--since: invalid"),
        (["--mode", "wish"], "--mode: invalid choice"),
    ],
)
def test_what_cannot_be_asked_is_refused(young: Hook, arguments: Sequence[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        said(*arguments)


def test_without_credentials_it_says_which_variables_to_give(settings: Any) -> None:
    nothing = {"api_url": "https://api.github.com", "app_id": "", "private_key": "", "token": "", "hooks": []}
    settings.HOOKLINE_GITHUB_ACCESS = {"github": nothing}
    with pytest.raises(CommandError, match="GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY, or GITHUB_HOOKS and GITHUB_API"):
        said()


def test_a_day_without_a_time_is_understood(young: Hook) -> None:
    young.add("push", PUSH, delivered_at=young._now() - timedelta(hours=30))
    since = f"{young._now() - timedelta(hours=60):%Y-%m-%d}"
    [found] = json.loads(said("--since", since, "--format", "json"))
    assert (found["recovered"], found["since"]) == (1, f"{since}T00:00:00+00:00")


def test_it_fits_a_terminal_of_60_columns(young: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    young.add("push", PUSH)
    assert max(map(len, said().splitlines())) <= 60


def test_progress_is_shown_by_time_on_a_terminal(github: GitHub) -> None:
    out = StringIO()
    going = LogPass(log=HookLog(source="github", hook="app"), entries=4_310, recovered=12)
    with PassProgress(Console(file=out, force_terminal=True, width=80)) as progress:
        progress.show(going)
        assert not logging.getLogger("webhooks.inbox.stored_log").isEnabledFor(logging.INFO)
        going.until, going.oldest_at = github.now(), github.now() - timedelta(days=1.5)
        progress.show(going)
        assert progress._progress.tasks[0].percentage == pytest.approx(50, abs=0.1)
        going.since = github.now() - timedelta(days=1)
        progress.show(going)
        assert progress._progress.tasks[0].percentage == 100
    assert "4,310 entries, 12 missing" in out.getvalue()
    assert logging.getLogger("webhooks.inbox.stored_log").isEnabledFor(logging.INFO)


# --- The process that watches -----------------------------------------------------------------------------------------


class Stop(threading.Event):
    """Lets a watching process wait for nothing, and stops it after so many rounds."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self._rounds = rounds
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        if timeout and timeout > 100:
            self.waits.append(timeout)
            if len(self.waits) >= self._rounds:
                self.set()
        return self.is_set()


def watch(*, rounds: int) -> tuple[Stop, ReconcilerHealth]:
    stop, health = Stop(rounds), ReconcilerHealth(every_seconds=300)
    Watching([access_of()], Options(), stop=stop, health=health).run()
    return stop, health


def counted(health: ReconcilerHealth) -> dict[str, float]:
    lines = generate_latest(health.registry).decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("hookline_reconcile"))
        if "_created" not in name
    }


def test_a_watching_process_reads_again_and_again_and_counts(young: Hook) -> None:
    young.add("push", PUSH)
    young.add("push", PUSH, is_gone=True)
    stop, health = watch(rounds=3)
    assert all(270 <= wait <= 330 for wait in stop.waits)
    found = counted(health)
    assert found.pop("hookline_reconcile_api_calls_total") == 6 + 1 + 1
    assert found == {
        'hookline_reconcile_passes_total{state="complete"}': 2,
        'hookline_reconcile_passes_total{state="incomplete"}': 1,
        'hookline_reconcile_passes_total{state="stopped"}': 0,
        "hookline_reconcile_deliveries_recovered_total": 1,
        "hookline_reconcile_deliveries_lost_total": 1,
    }


def test_it_waits_out_an_outage_of_the_database(young: Hook, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    young.add("push", PUSH)
    failures = iter([OperationalError("the connection is lost")])

    def fails_once(*arguments: Any, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return running.reconcile(*arguments, **options)

    monkeypatch.setattr(watching, "reconcile", fails_once)
    watch(rounds=2)
    assert Delivery.objects.count() == 1
    assert "reconciler waits" in caplog.messages


def test_it_leaves_a_log_that_another_process_reads(young: Hook, caplog: pytest.LogCaptureFixture) -> None:
    assert passes.hold(passes.log_of(access_of())) is not None
    with caplog.at_level("INFO"):
        _, health = watch(rounds=2)
    assert "another process reads the log" in caplog.messages
    assert counted(health)['hookline_reconcile_passes_total{state="complete"}'] == 0


def test_a_stop_in_the_middle_leaves_a_pass_that_is_gone_on_with(
    young: Hook, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(150):
        young.add("push", PUSH)
    stop = Stop(rounds=9)
    health = ReconcilerHealth(every_seconds=300)
    monkeypatch.setattr(health, "heartbeat", stop.set)  # As a signal would, after the first page.
    Watching([access_of()], Options(), stop=stop, health=health)._read(access_of())
    stopped = LogPass.objects.get()
    assert (stopped.state, stopped.reason, stopped.recovered) == (LogPass.State.STOPPED, "it was asked to stop", 100)
    assert HookLog.objects.get().lease_until is None
    watch(rounds=1)
    assert Delivery.objects.count() == 150
    stopped.refresh_from_db()
    assert (stopped.state, stopped.recovered) == (LogPass.State.COMPLETE, 150)


def test_it_is_live_while_its_loop_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    health = ReconcilerHealth(every_seconds=300)
    assert (health.live(), health.started(), health.ready()) == ([], ["its loop has not begun"], health.started())
    health.heartbeat()
    assert (health.live(), health.started()) == ([], [])
    monkeypatch.setattr("webhooks.reconciling.health.time.monotonic", lambda: 10.0**9)
    assert health.live()[0].startswith("its loop has not turned for ")


def test_the_page_on_metrics_lists_what_it_counts() -> None:
    families = ReconcilerHealth(every_seconds=300).registry.collect()
    found = {f"{family.name}_total" for family in families if family.name.startswith("hookline_")}
    assert found == {one.name for one in documented() if one.role == "reconciler"}
    assert {one.kind for one in documented() if one.role == "reconciler"} == {"counter"}
