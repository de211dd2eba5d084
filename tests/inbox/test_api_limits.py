"""Jobs that call GitHub's API are not claimed while their installation's limit is reached; others are."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from tests.inbox.test_engine import CHANGE
from tests.inbox.test_plans import nodes, noted_statements, plans
from tests.publishing.test_relay import SUBSCRIPTION
from tests.support.inbox_rows import make_job
from webhooks.github_api.budget import Seen
from webhooks.inbox import api_limits, held_jobs, postgresql
from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.engine import Engine
from webhooks.inbox.late_turns import LateTurns
from webhooks.inbox.waiting_facts import explain
from webhooks.inbox.waiting_values import Kind
from webhooks.models import ApiLimit, Job
from webhooks.states import JobState
from webhooks.subscriptions import installed
from webhooks.subscriptions.subscription import Subscriptions

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

API, PLAIN = "shop.label", "shop.count"
CLOSED = Seen(remaining=0, most=5_000, resets_in_seconds=900.0, closed_seconds=900.0)


def waiting(handler: str, installation_id: int | None, **values: Any) -> Job:
    job = make_job(JobState.QUEUED, handler=handler, due_at=Now() - timedelta(seconds=60), **values)
    type(job.delivery).objects.filter(pk=job.delivery_id).update(installation_id=installation_id)
    return job


def claimed(
    one: Engine, *, limit: int = 10, queue: str = "default", after: str | None = None, changes: Any = ()
) -> list[int]:
    leases, using = {API: 30.0, PLAIN: 30.0}, frozenset({API})
    wanted = Wanted(worker="w", leases=leases, limit=limit, queue=queue, after=after, api_handlers=using)
    return [ClaimedJob(*row).pk for row in one.exchange(list(changes), wanted)[1]]


def seconds_until_due(job: Job) -> float:
    found: Any = Job.objects.filter(pk=job.pk).values_list("publish_at", Now()).get()
    return float((found[0] - found[1]).total_seconds())


def test_jobs_of_a_closed_installation_are_put_off_and_all_others_run(each: Engine) -> None:
    held = waiting(API, 7)
    free = [waiting(PLAIN, 7), waiting(API, 8), waiting(API, None)]
    api_limits.note({("github", 7): CLOSED})
    assert claimed(each) == [job.pk for job in free]
    assert 895 < seconds_until_due(held) < 915
    held.refresh_from_db()
    assert (held.state, held.attempt, held.forgiven) == (JobState.QUEUED, 0, 0)


def test_a_limit_of_another_source_s_installation_holds_nothing(each: Engine) -> None:
    job = waiting(API, 7)
    api_limits.note({("ghes", 7): CLOSED})
    assert claimed(each) == [job.pk]


def test_after_the_reset_they_are_claimed_again(each: Engine) -> None:
    job = waiting(API, 7)
    api_limits.note({("github", 7): CLOSED})
    assert claimed(each) == []
    ApiLimit.objects.update(until=Now() - timedelta(seconds=1))
    Job.objects.update(publish_at=Now() - timedelta(seconds=1))
    assert claimed(each) == [job.pk]


@pytest.mark.parametrize("left", [1_000, 1_001])
def test_replayed_jobs_leave_a_fifth_to_live_ones(each: Engine, left: int) -> None:
    replayed, live = waiting(API, 7, queue="default/replay"), waiting(API, 7)
    api_limits.note({("github", 7): Seen(remaining=left, most=5_000, resets_in_seconds=600.0)})
    assert claimed(each, queue="default/replay") == ([] if left == 1_000 else [replayed.pk])
    assert claimed(each) == [live.pk]
    if left == 1_000:
        assert 595 < seconds_until_due(replayed) < 615


def test_what_waits_behind_many_of_a_closed_installation_is_found_at_once(
    each: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (held_jobs, api_limits):
        monkeypatch.setattr(module, "MOST", 20)
    many = [waiting(API, 7) for _ in range(50)]
    last = waiting(PLAIN, 7)
    api_limits.note({("github", 7): CLOSED})
    assert claimed(each, limit=3) == [last.pk]
    assert Job.objects.filter(pk__in=[job.pk for job in many], publish_at__gt=Now()).count() == 50


def test_in_a_shared_queue_the_other_parties_run_on(each: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (held_jobs, api_limits):
        monkeypatch.setattr(module, "MOST", 20)
    for _ in range(30):
        waiting(API, 7, fair_key="a")
    free = [waiting(API, 8, fair_key="b"), waiting(PLAIN, 9, fair_key="c"), waiting(API, 8, fair_key="b")]
    api_limits.note({("github", 7): CLOSED})
    found = claimed(each, limit=3, after="")
    found += claimed(each, limit=3, after="") if len(found) < 3 else []
    assert sorted(found) == [job.pk for job in free]
    assert claimed(each, limit=3, after="") == []


def test_a_job_that_is_put_off_gives_up_its_turn_and_comes_back_in_its_time(each: Engine) -> None:
    held, other = waiting(API, 7, order_key="k"), waiting(API, 8, order_key="k", publish_at=None)
    api_limits.note({("github", 7): CLOSED})
    assert claimed(each) == []
    held.refresh_from_db()
    assert (held.state, held.attempt, held.publish_at) == (JobState.RETRYING, 0, None)
    assert LateTurns().step() == 1
    assert claimed(each) == [other.pk]
    change: Mapping[str, Any] = CHANGE | {"job": other.pk, "attempt": 1, "is_final": True, "state": "succeeded"}
    assert claimed(each, changes=[change]) == []
    assert LateTurns().step() == 1
    assert 895 < seconds_until_due(held) < 915
    Job.objects.filter(pk=held.pk).update(publish_at=Now() - timedelta(seconds=1))
    ApiLimit.objects.update(until=Now() - timedelta(seconds=1))
    assert claimed(each) == [held.pk]


def test_outcomes_are_recorded_beside_it(each: Engine) -> None:
    first = waiting(PLAIN, 7)
    assert claimed(each) == [first.pk]
    held, free = waiting(API, 7), waiting(PLAIN, 7)
    api_limits.note({("github", 7): CLOSED})
    change: Mapping[str, Any] = CHANGE | {"job": first.pk, "attempt": 1, "is_final": True, "state": "succeeded"}
    assert claimed(each, changes=[change]) == [free.pk]
    first.refresh_from_db()
    held.refresh_from_db()
    assert (first.state, held.state) == (JobState.SUCCEEDED, JobState.QUEUED)


def test_a_refusal_holds_though_a_later_answer_speaks_of_calls_that_are_left() -> None:
    api_limits.note({("github", 7): CLOSED})
    api_limits.note({("github", 7): Seen(remaining=12, most=5_000, resets_in_seconds=900.0)})
    limit = ApiLimit.objects.annotate(now=Now()).get()
    assert (limit.remaining, limit.most) == (12, 5_000)
    assert limit.until is not None
    assert limit.until > limit.now
    api_limits.note({("github", 7): Seen(closed_seconds=60.0)})
    again = ApiLimit.objects.get()
    assert (again.remaining, again.until and again.until < limit.until) == (12, True)


def test_the_statements_read_by_index_and_the_claim_of_other_queues_knows_nothing_of_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's planner")
    seen = noted_statements(monkeypatch)
    postgresql.prepare_connection(wait_seconds=1.0)
    waiting(API, 7)
    api_limits.note({("github", 7): CLOSED})
    assert claimed(postgresql) == []
    claimed(postgresql, changes=[CHANGE | {"job": 1, "attempt": 1}])
    each_once = dict(reversed(seen))
    assert len(each_once) == 3
    for statement, values in each_once.items():
        for plan in plans(statement, values):
            reads = [node for node in nodes(plan) if str(node.get("Relation Name", "")).startswith("webhooks_")]
            large = [node for node in reads if node["Relation Name"] not in ("webhooks_source", "webhooks_pause")]
            assert "Seq Scan" not in {node["Node Type"] for node in large}
            [due] = [node for node in nodes(plan) if node.get("Subplan Name") == "CTE due"]
            assert "job_publish" in {node.get("Index Name") for node in nodes(due)}, "In order, up to its limit."
    postgresql.exchange([], Wanted(worker="w", leases={PLAIN: 30.0}, queue="default"))
    assert "apilimit" not in seen[-1][0]


def test_a_job_says_that_it_waits_for_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    using = replace(SUBSCRIPTION, name=API, uses_api=True, takes_run=True)
    monkeypatch.setattr(installed, "_subscriptions", Subscriptions([using]))
    job = waiting(API, 7)
    assert (found := explain(job))
    assert found.kind is not Kind.API_LIMIT
    api_limits.note({("github", 7): CLOSED})
    assert (found := explain(job))
    assert found.kind is Kind.API_LIMIT
    assert re.fullmatch(r"GitHub's rate limit of installation 7 until (\S+ )?\d\d:\d\d UTC\.", found.sentence)
    other = waiting(API, 8)
    assert (found := explain(other))
    assert found.kind is not Kind.API_LIMIT
