"""Deliveries that arrive together are committed together, and none pays for another."""

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.publishing.test_relay import SUBSCRIPTION
from tests.support.inbox_rows import make_delivery, new_delivery
from webhooks.inbox import group_commit
from webhooks.inbox.committer import LONGEST_SECONDS, InboxUnavailableError
from webhooks.inbox.group_commit import MOST_TOGETHER, GroupCommit
from webhooks.inbox.new_delivery import NewDelivery, Stored
from webhooks.inbox.store import store_together
from webhooks.models import Delivery, Job, Source

TIMEOUT_SECONDS = 60


class HeldCommitter:
    """Notes each group, and lets it through once it may."""

    def __init__(self) -> None:
        self.groups: list[list[uuid.UUID]] = []
        self.bytes: list[int] = []
        self.begun, self.may_go_on = threading.Semaphore(0), threading.Semaphore(0)

    def run(self, work: Callable[[], Any], *, stored_bytes: int) -> Any:
        self.bytes.append(stored_bytes)
        self.begun.release()
        assert self.may_go_on.acquire(timeout=TIMEOUT_SECONDS)
        return work()


@pytest.fixture
def committer(monkeypatch: pytest.MonkeyPatch) -> HeldCommitter:
    held = HeldCommitter()

    def store(group: Sequence[NewDelivery]) -> list[Stored | None]:
        held.groups.append([new.guid for new in group])
        return [None if new.event == "repeat" else Stored(int(new.guid), False, 0, ()) for new in group]

    monkeypatch.setattr(group_commit, "store_together", store)
    return held


def deliveries(count: int, **values: Any) -> list[NewDelivery]:
    return [new_delivery(guid=uuid.UUID(int=number), **values) for number in range(count)]


def run(
    committer: HeldCommitter, senders: Callable[[GroupCommit], Coroutine[Any, Any, list[Stored | BaseException | None]]]
) -> list[Stored | BaseException | None]:
    """Run what sends deliveries on an event loop of its own."""

    async def main() -> list[Stored | BaseException | None]:
        together = GroupCommit(lambda: committer, asyncio.get_running_loop())  # type: ignore[arg-type, return-value]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await senders(together)

    return asyncio.run(main())


def send(
    *group: NewDelivery, behind: bool = False, committer: HeldCommitter
) -> Callable[[GroupCommit], Coroutine[Any, Any, list[Stored | BaseException | None]]]:
    """Return what sends deliveries at once; `behind`: all but the first while the first is being committed."""

    async def senders(together: GroupCommit) -> list[Stored | BaseException | None]:
        tasks = [asyncio.ensure_future(together.store(group[0]))]
        if behind:
            await asyncio.to_thread(committer.begun.acquire)
        tasks += [asyncio.ensure_future(together.store(new)) for new in group[1:]]
        await asyncio.sleep(0)  # All of them have asked now.
        for _ in group:
            committer.may_go_on.release()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return senders


def test_a_delivery_alone_waits_for_no_other(committer: HeldCommitter) -> None:
    [new] = deliveries(1)
    assert run(committer, send(new, committer=committer)) == [Stored(0, False, 0, ())]
    assert committer.groups == [[new.guid]]


def test_what_arrives_during_a_commit_is_committed_together_in_groups_of_a_bounded_size(
    committer: HeldCommitter,
) -> None:
    sent = deliveries(2 * MOST_TOGETHER, body=b"12345")
    results = run(committer, send(*sent, behind=True, committer=committer))
    assert results == [Stored(number, False, 0, ()) for number in range(len(sent))]
    assert [len(group) for group in committer.groups] == [1, MOST_TOGETHER, MOST_TOGETHER - 1]
    assert [guid for group in committer.groups for guid in group] == [new.guid for new in sent]
    assert committer.bytes == [5 * len(group) for group in committer.groups]


def test_each_learns_what_became_of_its_own(committer: HeldCommitter) -> None:
    first, repeat, last = deliveries(3)
    results = run(committer, send(first, replace(repeat, event="repeat"), last, behind=True, committer=committer))
    assert results == [Stored(0, False, 0, ()), None, Stored(2, False, 0, ())]


def test_a_commit_is_one_line_of_the_log_that_names_all_of_its_deliveries(
    committer: HeldCommitter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="webhooks")
    first, second, third, fourth = deliveries(4)
    run(committer, send(first, second, replace(third, event="repeat"), fourth, behind=True, committer=committer))
    alone, together = caplog.records
    assert (alone.getMessage(), vars(alone)["delivery"], vars(alone)["guid"]) == ("delivery stored", 0, first.guid)
    assert (together.getMessage(), vars(together)["deliveries"], vars(together)["guids"], vars(together)["jobs"]) == (
        "deliveries stored",
        [1, 3],
        [str(second.guid), str(fourth.guid)],
        0,
    )


def test_without_an_inbox_all_of_a_group_are_told_and_the_next_one_is_tried(
    committer: HeldCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [InboxUnavailableError()]

    def store(group: Sequence[NewDelivery]) -> list[Stored | None]:
        if errors:
            raise errors.pop()
        return [None] * len(group)

    monkeypatch.setattr(group_commit, "store_together", store)
    first, *others = run(committer, send(*deliveries(3), behind=True, committer=committer))
    assert isinstance(first, InboxUnavailableError)
    assert others == [None, None]


def test_an_error_that_nobody_expected_leaves_each_to_be_stored_by_itself(
    committer: HeldCommitter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_group: Sequence[NewDelivery]) -> list[Stored | None]:
        raise TypeError("Str is not valid UTF-8: surrogates not allowed: s3cret")

    monkeypatch.setattr(group_commit, "store_together", fail)
    assert run(committer, send(*deliveries(3), behind=True, committer=committer)) == [None] * 3
    assert [record.getMessage() for record in caplog.records] == ["group not committed"] * 2
    assert "s3cret" not in caplog.text


def test_what_github_no_longer_waits_for_is_refused_and_not_stored(
    committer: HeldCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "LONGEST_SECONDS", -1.0)
    results = run(committer, send(*deliveries(2), behind=False, committer=committer))
    assert all(isinstance(result, InboxUnavailableError) for result in results)
    assert committer.groups == []


def test_one_that_has_waited_too_long_costs_no_other_of_its_group(
    committer: HeldCommitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(group_commit, "time", SimpleNamespace(monotonic=lambda: clock.now))
    first, late, new = deliveries(3)

    async def senders(together: GroupCommit) -> list[Stored | BaseException | None]:
        tasks = [asyncio.ensure_future(together.store(first))]
        await asyncio.to_thread(committer.begun.acquire)
        for one in (late, new):
            tasks.append(asyncio.ensure_future(together.store(one)))
            await asyncio.sleep(0)
            clock.now += LONGEST_SECONDS - 1
        committer.may_go_on.release(2)
        return await asyncio.gather(*tasks, return_exceptions=True)

    stored, refused, also_stored = run(committer, senders)
    assert isinstance(refused, InboxUnavailableError)
    assert (stored, also_stored) == (Stored(0, False, 0, ()), Stored(2, False, 0, ()))
    assert committer.groups == [[first.guid], [new.guid]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_of_one_group_each_new_delivery_is_stored_once_and_repeats_are_left() -> None:
    known = make_delivery()
    first, second = new_delivery(subscriptions=[SUBSCRIPTION]), new_delivery()
    group = [first, new_delivery(guid=known.guid), second, replace(first, event="issues")]
    stored = store_together(group)
    assert [one and (one.job_count, one.is_duplicate) for one in stored] == [(1, False), None, (0, False), None]
    assert Delivery.objects.count() == 3
    assert Job.objects.get().delivery_id == stored[0].delivery_id  # type: ignore[union-attr]


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_one_that_the_database_refuses_for_what_it_holds_leaves_all_of_its_group_and_stores_none() -> None:
    Source.objects.create(name="github")
    same_handler_twice = new_delivery(subscriptions=[SUBSCRIPTION, SUBSCRIPTION])
    assert store_together([new_delivery(), same_handler_twice, new_delivery()]) == [None] * 3
    assert not Delivery.objects.exists()
