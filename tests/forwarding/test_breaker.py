"""The breaker of a destination: when it opens, what is claimed meanwhile, who tries, and how it closes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from tests.inbox.test_engine import claims, ids, waiting
from webhooks.inbox import pauses
from webhooks.inbox.destinations import breaker, changing, testing
from webhooks.inbox.destinations.breaker import FIRST_SECONDS, LONGEST_SECONDS, OPENS_AFTER, seconds_until_try
from webhooks.inbox.destinations.changing import Secrets
from webhooks.inbox.engine import Engine
from webhooks.models import Change, Destination, Job, Pause
from webhooks.publishing.gauges import InboxGauges

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NAME, HANDLER = "chat", "forward.chat"
LEASES = {HANDLER: 30.0, "shop.count": 30.0}
VALUES: dict[str, Any] = {"events": ["push"], "url": "https://chat.example.com/hook", "queue": "default"}


@pytest.fixture(autouse=True)
def destination() -> Destination:
    made = changing.create(NAME, VALUES, Secrets(), who="ana")
    changing.switch(NAME, on=True, who="ana")
    return made


def now() -> Destination:
    return Destination.objects.get(name=NAME)


def fail(job: Job, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(NAME, job_id=job.pk, why="500 in 3 ms (Internal Server Error).")


def open_it(job: Job) -> None:
    fail(job, OPENS_AFTER)


def let_its_time_come() -> None:
    Destination.objects.filter(name=NAME).update(next_try_at=Now() - timedelta(seconds=1))


@pytest.fixture(params=[None, ""], ids=["in order", "shared"])
def claimed(each: Engine, request: pytest.FixtureRequest) -> Callable[[], list[int]]:
    """Claim by each engine, of a queue that is shared fairly or not."""
    return lambda: ids(claims(each, leases=LEASES, limit=5, after=request.param))


def test_it_opens_after_ten_failures_in_a_row_and_other_handlers_go_on(claimed: Callable[[], list[int]]) -> None:
    held, other = waiting(9, handler=HANDLER, fair_key="a"), waiting(5, fair_key="b")
    fail(held, OPENS_AFTER - 1)
    assert now().opened_at is None
    breaker.succeeded(NAME)
    fail(held, OPENS_AFTER - 1)
    assert (now().opened_at, now().failures) == (None, OPENS_AFTER - 1)
    fail(held)
    assert now().opened_at is not None
    assert Pause.objects.get(resumed_at=None).reason.startswith("10 failures in a row; the last: 500 in 3 ms")
    assert claimed() == [other.pk]


def test_one_job_is_admitted_when_the_time_has_come_and_its_success_closes_it(claimed: Callable[[], list[int]]) -> None:
    first, second = waiting(9, handler=HANDLER, fair_key="a"), waiting(8, handler=HANDLER, fair_key="a")
    open_it(first)
    breaker.step()
    assert claimed() == []
    let_its_time_come()
    breaker.step()
    assert claimed() == [first.pk]
    breaker.step()  # It runs: no other is admitted.
    assert claimed() == []
    breaker.succeeded(NAME)
    assert (now().opened_at, now().failures, now().tries) == (None, 0, 0)
    assert claimed() == [second.pk]


def test_a_try_that_fails_puts_off_the_next_and_a_late_failure_of_another_job_does_not() -> None:
    first, second = waiting(9, handler=HANDLER, fair_key="a"), waiting(8, handler=HANDLER, fair_key="a")
    open_it(first)
    let_its_time_come()
    breaker.step()
    fail(second)
    assert now().tries == 0
    fail(first)
    row = now()
    assert row.tries == 1
    assert row.next_try_at is not None
    assert row.failed_at is not None
    assert timedelta(seconds=59) < row.next_try_at - row.failed_at < timedelta(seconds=61)
    assert Pause.objects.get(resumed_at=None).admitted_job is None


def test_waits_between_tries_double_up_to_ten_minutes() -> None:
    assert [seconds_until_try(tries) for tries in (0, 1, 2)] == [FIRST_SECONDS, 60.0, 120.0]
    assert seconds_until_try(5) == seconds_until_try(4_000) == LONGEST_SECONDS


def test_a_refusal_is_an_answer_and_closes_it() -> None:
    job = waiting(9, handler=HANDLER, fair_key="a")
    open_it(job)
    breaker.answered(NAME)
    assert now().opened_at is None
    assert not Pause.objects.filter(resumed_at=None).exists()


def test_a_target_that_asks_to_wait_is_tried_when_it_has_asked_for() -> None:
    job = waiting(9, handler=HANDLER, fair_key="a")
    open_it(job)
    let_its_time_come()
    breaker.step()
    breaker.put_off(NAME, job_id=job.pk, seconds=3_600)
    row = now()
    assert row.next_try_at is not None
    assert row.opened_at is not None
    assert row.next_try_at - row.opened_at > timedelta(minutes=59)
    breaker.step()
    assert Pause.objects.get(resumed_at=None).admitted_job is None


def test_what_a_person_has_paused_is_not_tried(claimed: Callable[[], list[int]]) -> None:
    job = waiting(9, handler=HANDLER, fair_key="a")
    open_it(job)
    pauses.pause(handler=HANDLER, reason="their maintenance", who="ana")
    let_its_time_come()
    breaker.step()
    assert claimed() == []
    assert pauses.resume(handler=HANDLER, who="ana")
    breaker.step()
    assert claimed() == [job.pk]


def test_a_person_can_close_it_and_that_is_recorded() -> None:
    assert not breaker.close(NAME, who="ana")
    open_it(waiting(9, handler=HANDLER, fair_key="a"))
    assert breaker.close(NAME, who="ana")
    assert now().opened_at is None
    change = Change.objects.latest("pk")
    assert (change.action, change.who, change.scope) == ("close_breaker", "ana", "destination chat")


def test_jobs_of_a_destination_that_is_switched_off_wait_and_a_test_of_it_runs(
    claimed: Callable[[], list[int]],
) -> None:
    held = waiting(9, handler=HANDLER, fair_key="a")
    assert changing.switch(NAME, on=False, who="ana", reason="moving")
    assert not changing.switch(NAME, on=False, who="ana")
    assert claimed() == []
    test = testing.send_test(now(), who="ana")
    assert test is not None
    assert Job.objects.get(pk=test).fair_key  # Else it would wait behind all that have a part of the queue.
    assert claimed() == [test]
    assert changing.switch(NAME, on=True, who="ana")
    assert claimed() == [held.pk]


def test_relays_show_which_breaker_is_open() -> None:
    changing.create("calm", VALUES, Secrets(), who="ana")
    open_it(waiting(9, handler=HANDLER, fair_key="a"))
    gauges = InboxGauges(["default"])
    gauges.step()
    [shown] = [metric for metric in gauges.collect() if metric.name == "hookline_destination_breaker_open"]
    assert {sample.labels["destination"]: sample.value for sample in shown.samples} == {"calm": 0, NAME: 1}
