"""`fair_by`: in which order the jobs of a shared queue are claimed, by each engine."""

import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.fuzz.job_steps import side_by_side
from tests.inbox.test_engine import change, claims, waiting, wanted
from tests.publishing.test_relay import SUBSCRIPTION
from tests.support.inbox_rows import make_job
from webhooks.inbox import due, pauses
from webhooks.inbox.claimed_job import ClaimedJob, Wanted
from webhooks.inbox.engine import Engine, engine
from webhooks.models import Job
from webhooks.publishing.health import RelayHealth
from webhooks.publishing.strays import Strays
from webhooks.replay_queues import replay_queue
from webhooks.states import JobState
from webhooks.subscriptions.subscription import Subscriptions
from workers.dispatcher.rounds import Rounds

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def of(party: str | None, count: int = 1, seconds: float = 5, **values: Any) -> list[int]:
    """Store jobs of a party; return their ids."""
    return [waiting(seconds, fair_key=party, **values).pk for _ in range(count)]


def ids(jobs: list[ClaimedJob]) -> list[int]:
    return [job.pk for job in jobs]


def test_each_party_is_served_in_turn_however_much_another_has(each: Engine) -> None:
    noisy, quiet, other = of("noisy", 9, seconds=3600), of("quiet", 2), of("a", 1)
    assert ids(claims(each, after="", limit=8)) == [
        *(other[0], noisy[0], quiet[0]),
        *(noisy[1], quiet[1]),
        *noisy[2:5],
    ]


def test_the_round_goes_on_after_the_party_that_was_served_last(each: Engine) -> None:
    jobs = {party: of(party, 3) for party in "abcd"}
    assert ids(claims(each, after="b", limit=3)) == [jobs["c"][0], jobs["d"][0], jobs["a"][0]]
    assert ids(claims(each, after="a", limit=2)) == [jobs["b"][0], jobs["c"][1]]
    assert ids(claims(each, after="zzz", limit=1)) == [jobs["a"][1]]


def test_a_party_brings_its_oldest_due_job_and_nothing_that_is_not_due(each: Engine) -> None:
    late, early = of("a", seconds=10), of("a", seconds=60)
    make_job(JobState.RETRYING, fair_key="a", publish_at=None)
    make_job(JobState.RETRYING, fair_key="b", publish_at="2999-01-01T00:00Z")
    assert ids(claims(each, after="", limit=9)) == [*early, *late]


def test_jobs_of_nobody_in_particular_are_one_party_and_those_without_any_come_after_all(each: Engine) -> None:
    without, nobodys, own = of(None, 2, seconds=600), of("", 2, seconds=300), of("a", 2)
    assert ids(claims(each, after="", limit=5)) == [own[0], nobodys[0], own[1], nobodys[1], without[0]]


def test_what_is_paused_is_passed_over_and_of_a_paused_queue_nothing_is_claimed(each: Engine) -> None:
    of("a", handler="shop.bill"), of("b", handler="shop.bill")
    own = of("b")
    pauses.pause(handler="shop.bill", reason="outage", who="ana")
    leases = {"shop.count": 30.0, "shop.bill": 30.0}
    pauses.pause(queue="default", reason="outage", who="ana")
    assert claims(each, after="", leases=leases) == []
    pauses.resume(queue="default", who="ana")
    assert ids(claims(each, after="", leases=leases)) == own


def test_the_jobs_of_handlers_that_the_worker_does_not_know_take_nobodys_place(each: Engine) -> None:
    of("a", 3, handler="gone.away")
    own = of("a", 2)
    assert ids(claims(each, after="", limit=3)) == own


def test_other_queues_are_left_alone_and_replays_are_shared_in_their_own(each: Engine) -> None:
    of("a", queue="other")
    replayed = [*of("a", 1, queue=replay_queue("default")), *of("b", 1, queue=replay_queue("default"))]
    assert claims(each, after="") == []
    assert ids(claims(each, after="", queue=replay_queue("default"))) == replayed


def test_what_is_recorded_and_claimed_in_one_exchange_is_shared_too(each: Engine) -> None:
    of("a", 4), of("b", 1)
    [run] = claims(each, after="", limit=1)
    recorded, rows = each.exchange([change(run, state="succeeded", is_final=True)], wanted(after="a", limit=2))
    assert recorded == {(run.pk, 1)}
    assert [ClaimedJob(*row).fair_key for row in rows] == ["b", "a"]


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_get_different_jobs_and_all_of_them() -> None:
    for party in "abc":
        of(party, 20)
    asked = Wanted(worker="w", leases={"shop.count": 30.0}, limit=7, queue="default", after="")

    def work() -> list[int]:
        found: list[int] = []
        while rows := engine().exchange([], asked)[1]:
            found += [row[0] for row in rows]
        return found

    claimed = [pk for found in side_by_side([work] * 4) for pk in found]
    # A claim may pass over what another has in hand; nothing is lost by that, and nothing claimed twice.
    claimed += work()
    assert sorted(claimed) == sorted(Job.objects.values_list("pk", flat=True))


# --- The round of a worker --------------------------------------------------------------------------------------------


def claimed(*parties: str | None) -> list[Any]:
    return [type("Claimed", (), {"fair_key": party})() for party in parties]


def test_a_worker_begins_its_round_anywhere_and_goes_on_where_it_was() -> None:
    rounds = Rounds(lambda: {"shared"})
    assert rounds.after("default") is None
    begin = rounds.after("shared")
    assert begin == rounds.after("shared") != Rounds(lambda: {"shared"}).after("shared")
    asked = Wanted(worker="w", leases={}, limit=2, queue="shared", after=begin)
    rounds.claimed(asked, claimed("b", "c"))
    assert rounds.after("shared") == "c"
    assert rounds.after(replay_queue("shared")) not in (None, "c")
    rounds.claimed(asked, claimed("d"))  # Fewer than it wanted: it may have looked at many that have nothing.
    assert rounds.after("shared") not in ("c", "d")


def test_over_many_claims_nobody_gets_more_than_their_share_while_others_wait(each: Engine) -> None:
    of("noisy", 60, seconds=3600), of("loud", 30, seconds=3600), of("quiet", 6)
    rounds = Rounds(lambda: {"default"})
    seen: Counter[str] = Counter()
    for _ in range(9):
        asked = wanted(limit=2, after=rounds.after("default"))
        jobs = [ClaimedJob(*row) for row in each.exchange([], asked)[1]]
        rounds.claimed(asked, jobs)
        seen.update(str(job.fair_key) for job in jobs)
    assert seen == {"noisy": 6, "loud": 6, "quiet": 6}


def test_the_relay_counts_jobs_without_a_party_in_a_shared_queue_as_those_of_nobody() -> None:
    older = of(None, 3, handler="app.tell", queue="q")
    other = of(None, 1, queue="default", handler="app.other")
    fair = replace(SUBSCRIPTION, name="app.tell", queue="q", fair_by="installation")
    strays = Strays(
        Subscriptions([fair, replace(SUBSCRIPTION, name="app.other", queue="default")]),
        health=RelayHealth(threading.Event()),
    )
    strays.step()
    assert set(Job.objects.filter(pk__in=older).values_list("fair_key", flat=True)) == {""}
    assert Job.objects.get(pk=other[0]).fair_key is None
    assert due.give_party(None, "q", limit=10) == 0
