"""What a pass over GitHub's log finds, takes in, and says. Over HTTP, against the stand-in."""

import json
import math
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.support.github.log import Hook
from tests.support.github.reading import PUSH, access_of, read
from tests.support.github.server import APP, TOKEN, GitHub, serving
from tests.support.inbox_rows import make_delivery
from tests.support.processes import wait_until
from webhooks.github.delivery_log import entry_of
from webhooks.inbox import encoded_secret
from webhooks.inbox.store import store
from webhooks.models import Delivery, HookLog, Job, LogPass, MissedDelivery, Payload, Recovery, Source
from webhooks.reconciling import running
from webhooks.reconciling.running import BusyError
from webhooks.reconciling.taking_in import recovered_delivery

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

DAY = timedelta(days=1)


def new(hook: Hook) -> None:
    """Let the hook be younger than its log is long, so that a first pass can know that it saw everything."""
    hook.created_at = hook._now() - DAY


def test_what_is_missing_is_taken_in_as_if_it_had_come_and_what_is_stored_is_left(github: GitHub, hook: Hook) -> None:
    new(hook)
    missing = hook.add("push", PUSH, throttled_at=github.now(), status="timed out", status_code=504, duration=10.2)
    stored = hook.add("push", PUSH)
    make_delivery(guid=uuid.UUID(stored.guid), hook_id=hook.hook_id)
    done = read()
    assert (done.state, done.entries, done.recovered, done.lost) == (LogPass.State.COMPLETE, 2, 1, 0)
    delivery = Delivery.objects.get(guid=missing.guid)
    assert (delivery.source.name, delivery.hook_id, delivery.event, delivery.repository, delivery.sender) == (
        *("github", hook.hook_id, "push", "acme/widgets", "octo"),
    )
    assert delivery.headers["X-GitHub-Hook-Installation-Target-Type"] == "integration"
    assert "X-Hub-Signature-256" not in delivery.headers
    assert json.loads(bytes(Payload.objects.get(delivery=delivery).body)) == PUSH
    job = Job.objects.get()
    assert (job.delivery_id, job.handler, job.queue, job.state) == (delivery.pk, "shop.count", "default", "queued")
    assert job.publish_at is not None, "The relay publishes for it."
    kept = Recovery.objects.get()
    assert (kept.delivery_id, kept.log_pass_id, kept.entry_id) == (delivery.pk, done.pk, missing.id)
    assert (kept.status, kept.status_code, kept.duration_seconds) == ("timed out", 504, 10.2)
    assert kept.throttled_at == github.now().replace(microsecond=0) or kept.throttled_at is not None
    assert kept.delivered_at == missing.delivered_at.replace(microsecond=0)


def test_a_body_is_only_fetched_for_what_has_a_handler_by_event_and_action(github: GitHub, hook: Hook) -> None:
    new(hook)
    hook.add("star")
    for action in ("closed", "opened"):
        hook.add("pull_request", {"action": action})
    make_delivery()
    HookLog.objects.create(source="github", hook="app", hook_id=hook.hook_id)
    done = read()
    assert (done.entries, done.unwanted, done.recovered) == (3, 2, 1)
    assert len(github.asked("/deliveries/")) == 1


def test_what_only_its_payload_shows_to_be_unwanted_is_stored_without_a_job_as_the_receiver_does(hook: Hook) -> None:
    new(hook)
    hook.add("push", {"repository": {"full_name": "other/thing"}})
    assert read().recovered == 1
    assert Delivery.objects.get().jobs.count() == 0
    assert read().recovered == 0


def test_the_next_pass_reads_no_further_than_the_last_complete_one(github: GitHub, hook: Hook) -> None:
    new(hook)
    for minutes in range(250):
        hook.add("star", delivered_at=github.now() - timedelta(minutes=minutes))
    assert (read().entries, len(github.asked("/deliveries?"))) == (250, 3)
    github.calls.clear()
    fresh = hook.add("push", PUSH)
    done = read()
    assert (done.state, done.recovered, len(github.asked("/deliveries?"))) == (LogPass.State.COMPLETE, 1, 1)
    assert Delivery.objects.get().guid == uuid.UUID(fresh.guid)
    assert done.entries < 5, "A few minutes are looked at twice, since GitHub logs a delivery only as it ends."


def test_a_delivery_that_is_logged_late_is_found_by_the_next_pass(github: GitHub, hook: Hook) -> None:
    new(hook)
    read()
    hook.add("push", PUSH, delivered_at=github.now() - timedelta(seconds=40))
    assert read().recovered == 1


def test_a_recovered_delivery_that_comes_again_is_the_same_one(hook: Hook) -> None:
    new(hook)
    entry = hook.add("push", PUSH)
    read()
    again = recovered_delivery(HookLog.objects.get(), entry_of(entry.in_list()), entry.in_full())
    assert store(again).is_duplicate
    assert (Delivery.objects.get().repeats, Job.objects.count(), Recovery.objects.count()) == (1, 1, 1)


def test_a_delivery_that_comes_while_it_is_being_recovered_is_stored_once(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    new(hook)
    entry = hook.add("push", PUSH)

    def comes_first(*arguments: Any, **options: Any) -> Any:
        made = recovered_delivery(*arguments, **options)
        store(made)
        return made

    monkeypatch.setattr("webhooks.reconciling.healing.recovered_delivery", comes_first)
    HookLog.objects.create(source="github", hook="app", hook_id=hook.hook_id)
    done = read()
    assert (done.state, done.recovered) == (LogPass.State.COMPLETE, 0)
    delivery = Delivery.objects.get()
    assert (delivery.guid, delivery.repeats, Job.objects.count()) == (uuid.UUID(entry.guid), 0, 1)
    assert not Recovery.objects.exists()


def test_several_attempts_of_one_event_are_one_delivery(hook: Hook) -> None:
    new(hook)
    guid = str(uuid.uuid4())
    for minutes in (9, 6, 3):
        hook.add("push", PUSH, guid=guid, delivered_at=hook._now() - timedelta(minutes=minutes), redelivery=minutes < 9)
    assert read().recovered == 1
    assert Recovery.objects.get().is_redelivery, "The newest attempt is the one that is fetched."


def test_two_hooks_that_send_one_event_are_two_deliveries_each_from_its_own_log(github: GitHub, settings: Any) -> None:
    names = ["orgs/acme/hooks/123", "repos/acme/widgets/hooks/456"]
    given = {"api_url": github.url, "app_id": "", "private_key": "", "token": TOKEN, "hooks": names}
    settings.HOOKLINE_GITHUB_ACCESS = {"github": given}
    guid = str(uuid.uuid4())
    for name in names:
        made = github.hook(name)
        new(made)
        made.add("push", PUSH, guid=guid)
    for name in names:
        assert read(access_of(hook=name)).recovered == 1
    assert set(Delivery.objects.values_list("hook_id", "guid")) == {(123, uuid.UUID(guid)), (456, uuid.UUID(guid))}
    assert Job.objects.count() == 2


def test_a_ghes_has_its_own_address_key_and_app_of_the_same_number(github: GitHub, hook: Hook, settings: Any) -> None:
    new(hook)
    with serving(GitHub(app=github.app.number, prefix="/api/v3")) as ghes:
        new(ghes.hook(hook_id=99))
        ghes.hooks[APP].add("push", PUSH)
        given = {"app_id": str(ghes.app.number), "private_key": ghes.app.private_key, "token": "", "hooks": []}
        settings.HOOKLINE_GITHUB_ACCESS |= {"ghes": {"api_url": ghes.url, **given}}
        assert read().state == LogPass.State.COMPLETE
        assert read(access_of("ghes")).recovered == 1
    delivery = Delivery.objects.get()
    assert (delivery.source.name, delivery.hook_id) == ("ghes", 99)


def test_a_dry_run_counts_and_changes_nothing_here_or_there(github: GitHub, hook: Hook) -> None:
    new(hook)
    guid = str(uuid.uuid4())
    for event in ("push", "push", "star"):
        hook.add(event, PUSH, guid=guid if event == "push" else "")
    done = read(is_dry_run=True)
    assert (done.state, done.recovered, done.unwanted) == (LogPass.State.COMPLETE, 1, 1)
    assert not any(model.objects.exists() for model in (Delivery, HookLog, LogPass, MissedDelivery))
    assert not github.asked(method="POST")


def test_since_reads_back_to_a_moment_and_does_not_count_as_a_whole_pass(github: GitHub, hook: Hook) -> None:
    new(hook)
    for hours in (1, 3):
        hook.add("push", PUSH, delivered_at=github.now() - timedelta(hours=hours))
    done = read(since=github.now() - timedelta(hours=2))
    assert (done.state, done.entries, done.recovered) == (LogPass.State.COMPLETE, 1, 1)
    assert HookLog.objects.get().complete_until is None
    assert read().recovered == 1


def test_redelivery_is_asked_for_once_for_an_event_and_not_for_one_that_came_in_the_end(
    github: GitHub, hook: Hook
) -> None:
    new(hook)
    failed, came = str(uuid.uuid4()), str(uuid.uuid4())
    for guid in (failed, came):
        for minutes in (9, 6):
            hook.add("push", PUSH, guid=guid, delivered_at=github.now() - timedelta(minutes=minutes))
    hook.add("push", PUSH, guid=came, redelivery=True, status_code=202, status="OK")
    make_delivery(guid=uuid.UUID(came), hook_id=hook.hook_id)
    done = read(mode=LogPass.Mode.REDELIVER)
    assert (done.state, done.asked, done.recovered) == (LogPass.State.COMPLETE, 1, 0)
    assert len(github.asked("/attempts", method="POST")) == 1
    assert hook.entries()[0].guid == failed
    assert hook.entries()[0].redelivery


def test_a_process_that_has_lost_its_log_writes_nothing_more(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine is: else it would see while it renews its hold, in the midst of a page.
    monkeypatch.setattr(running, "RENEW_SECONDS", math.inf)
    new(hook)
    for _ in range(150):
        hook.add("push", PUSH)

    def taken_over(going: LogPass) -> None:
        HookLog.objects.update(holder="another")

    with pytest.raises(BusyError):
        read(watch=taken_over)
    assert HookLog.objects.get().holder == "another"
    left = LogPass.objects.get()
    assert (left.state, left.finished_at) == (LogPass.State.RUNNING, None)
    assert Delivery.objects.count() == 150


def test_one_process_at_a_time_reads_a_log(hook: Hook) -> None:
    new(hook)
    hook.add("push", PUSH)

    def another(_going: LogPass) -> None:
        with pytest.raises(BusyError):
            read()
        raised.append(True)

    raised: list[bool] = []
    read(watch=another)
    assert raised
    assert read().state == LogPass.State.COMPLETE


def test_a_page_costs_as_many_queries_as_any_other_if_nothing_is_missing(github: GitHub, hook: Hook) -> None:
    new(hook)
    log = HookLog.objects.create(source="github", hook="app", hook_id=hook.hook_id)
    for number in range(300):
        entry = hook.add("push", PUSH, delivered_at=github.now() - timedelta(minutes=number))
        make_delivery(guid=uuid.UUID(entry.guid), hook_id=hook.hook_id)
    counts: list[int] = []
    with CaptureQueriesContext(connection) as queries:
        read(watch=lambda _: counts.append(len(queries)))
    assert counts[1] - counts[0] <= 8, [query["sql"] for query in queries.captured_queries[counts[0] : counts[1]]]
    assert log.passes.get().recovered == 0


def test_a_secret_is_in_no_error_row_or_repr(github: GitHub, hook: Hook, settings: Any) -> None:
    access = access_of()
    assert "PRIVATE KEY" not in repr(access)
    key: Mapping[str, Any] = settings.HOOKLINE_GITHUB_ACCESS["github"]
    settings.HOOKLINE_GITHUB_ACCESS = {"github": {**key, "private_key": "-----BEGIN RSA PRIVATE KEY-----\nSECRET\n"}}
    done = read()
    assert done.state == LogPass.State.STOPPED
    assert done.reason.startswith("GitHub cannot be called with this key or token (")
    assert "SECRET" not in repr(vars(done))


def test_the_client_is_loaded_only_where_a_log_is_read() -> None:
    import subprocess
    import sys

    code = "import django; django.setup(); import sys; import webhooks.management.commands.reconcile\n"
    code += "assert not {'githubkit', 'httpx', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"DJANGO_SETTINGS_MODULE": "project.settings"})


def test_a_secret_in_a_header_of_github_s_log_is_an_alarm_and_is_not_stored(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded_secret, "_next_at", {})
    new(hook)
    entry = hook.add("push", PUSH)
    entry.headers = {**(entry.headers or {}), "x-github-encoded-secret": "c2VjcmV0"}
    assert read().recovered == 1
    noted = Source.objects.filter(name="github", encoded_secret_at__isnull=False)
    wait_until(noted.exists, what="the alarm is noted")
    assert "c2VjcmV0" not in repr(Delivery.objects.values())
