"""The receiver's publisher: a lone job's message goes at once, and what comes meanwhile goes together."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from tests.publishing.test_relay import QUEUE, waiting
from tests.support.processes import wait_until
from webhooks.inbox.new_delivery import JobToPublish
from webhooks.publishing.broker import Broker
from webhooks.publishing.publisher import DEFERRED, PUBLISHED, Publisher


class Watched:
    """A broker with room for so many messages a queue, that holds up whoever publishes until the test lets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rooms = {QUEUE: 1000}
        self.groups: list[list[int]] = []
        self.go_on = threading.Event()
        monkeypatch.setattr(Broker, "room", lambda _broker, queue: self.rooms[queue])
        monkeypatch.setattr(Broker, "publish", lambda _broker, jobs: self._publish(jobs))

    def _publish(self, jobs: Sequence[JobToPublish]) -> None:
        self.groups.append([job.id for job in jobs])
        assert self.go_on.wait(60)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(monkeypatch)
    yield watched
    watched.go_on.set()


def done(publisher: Publisher) -> None:
    wait_until(lambda: not publisher._queue.unfinished_tasks, what="the publisher has nothing more to do")


def test_a_lone_job_does_not_wait_for_company_and_those_that_come_meanwhile_go_together(broker: Watched) -> None:
    publisher = Publisher()
    first, *others = waiting(6)
    publisher.offer([first])
    wait_until(lambda: broker.groups == [[0]], what="the first job is published")
    publisher.offer(others[:2])
    publisher.offer(others[2:])
    broker.go_on.set()
    done(publisher)
    assert broker.groups == [[0], [1, 2, 3, 4, 5]]


def test_jobs_beyond_the_window_are_left_to_the_relay_queue_by_queue(broker: Watched) -> None:
    broker.rooms = {QUEUE: 2, "full": 0, "other": 9}
    broker.go_on.set()
    published, deferred = PUBLISHED._value.get(), DEFERRED.labels("window")._value.get()
    publisher = Publisher()
    publisher.offer([*waiting(3), *waiting(3, queue="full"), *waiting(1, queue="other")])
    done(publisher)
    assert sorted(number for group in broker.groups for number in group) == [0, 0, 1]
    assert PUBLISHED._value.get() - published == 3
    assert DEFERRED.labels("window")._value.get() - deferred == 4
