"""When messages are repeated for jobs that nobody has claimed. Values in, values out."""

from datetime import UTC, datetime, timedelta

from webhooks.inbox.due import DueJob
from webhooks.publishing.repeats import Repeats

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def due(*numbers: int, again: int = 0) -> list[DueJob]:
    """Return jobs by their numbers, as they are due for the first time, or after so many retries."""
    return [DueJob(number, "app.handle", "q", NOON + timedelta(minutes=again)) for number in numbers]


def moments(repeats: Repeats, jobs: list[DueJob], *, seconds: int, start: int = 0) -> list[int]:
    """Return the seconds at which messages are published for these jobs, if every second asks."""
    published = []
    for now in range(start, start + seconds):
        if wanted := repeats.wanted("q", jobs, now=now):
            assert wanted == jobs
            repeats.published("q", jobs, now=now)
            published.append(now)
    return published


def test_while_no_job_is_claimed_messages_are_repeated_less_and_less_often_and_for_ever() -> None:
    assert moments(Repeats(), due(1, 2), seconds=24) == [0, 1, 3, 7, 12, 17, 22]


def test_once_a_job_is_claimed_messages_come_every_second_again() -> None:
    repeats = Repeats()
    assert moments(repeats, due(1, 2, 3), seconds=8) == [0, 1, 3, 7]
    assert moments(repeats, due(2, 3, 4), seconds=2, start=8) == [8, 9]


def test_a_job_that_is_due_again_after_its_run_counts_as_another() -> None:
    repeats = Repeats()
    assert [moments(repeats, due(1, again=number), seconds=1, start=number) for number in range(4)] == [
        [0], [1], [2], [3],
    ]  # fmt: skip


def test_a_job_that_becomes_due_later_does_not_wait_for_the_repetition() -> None:
    repeats = Repeats()
    assert moments(repeats, due(1), seconds=4) == [0, 1, 3]
    assert repeats.wanted("q", due(1, 2), now=4) == due(2)
    repeats.published("q", due(1, 2), now=4)
    assert moments(repeats, due(1, 2), seconds=4, start=4) == [7]


def test_each_queue_has_its_own_repetitions() -> None:
    repeats = Repeats()
    repeats.published("q", due(1), now=0)
    assert not repeats.wanted("q", due(1), now=0.5)
    assert repeats.wanted("other", due(1), now=0.5) == due(1)
