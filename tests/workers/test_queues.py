"""Which queue the dispatcher asks for jobs, and when again."""

import pytest

from workers.dispatcher.queues import REFRESH_SECONDS, Queues


def queues_of(*names: str) -> Queues:
    return Queues(lambda: names)


def test_the_queues_are_asked_in_turn() -> None:
    queues = queues_of("a", "b", "c")
    assert [queues.next(now=0.0) for _ in range(5)] == ["a", "b", "c", "a", "b"]


def test_a_queue_that_had_less_than_was_wanted_counts_as_empty_for_a_while_and_the_others_are_asked() -> None:
    queues = queues_of("a", "b")
    queues.answered("a", claimed=1, wanted=2, now=0.0)
    assert [queues.next(now=0.01) for _ in range(2)] == ["b", "b"]
    assert [queues.next(now=0.02) for _ in range(2)] == ["a", "b"]


def test_an_empty_queue_is_asked_again_later_and_later_until_something_is_heard_or_found() -> None:
    queues = queues_of("a")

    def wait(claimed: int = 0) -> float:
        queues.next(now=0.0)
        queues.answered("a", claimed=claimed, wanted=2, now=0.0)
        return queues.next_moment()

    assert [wait() for _ in range(7)] == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5])
    assert [wait(claimed=1), wait()] == pytest.approx([0.02, 0.04])
    queues.hear("a")
    assert queues.next_moment() == 0.0
    assert queues.next(now=0.0) == "a"
    assert wait() == pytest.approx(0.02)


def test_a_queue_of_which_something_is_heard_while_it_is_asked_does_not_count_as_empty() -> None:
    queues = queues_of("a")
    assert queues.next(now=0.0) == "a"
    queues.hear("a")
    queues.answered("a", claimed=0, wanted=2, now=0.0)
    assert queues.next(now=0.0) == "a"
    queues.answered("a", claimed=0, wanted=2, now=0.0)
    assert queues.next(now=0.0) is None


def test_a_full_answer_leaves_the_queue_as_it_is() -> None:
    queues = queues_of("a")
    queues.answered("a", claimed=2, wanted=2, now=0.0)
    assert queues.next(now=0.0) == "a"


def test_a_worker_that_consumes_nothing_asks_for_nothing_and_what_it_consumes_later_is_heard_of() -> None:
    names: list[str] = []
    queues = Queues(lambda: tuple(names))
    assert queues.next(now=0.0) is None
    names.append("a")
    assert queues.next(now=REFRESH_SECONDS) == "a"


def test_a_queue_of_which_something_is_heard_is_asked_though_the_parent_has_not_said_yet_that_it_is_consumed() -> None:
    queues = queues_of()
    assert queues.next(now=0.0) is None
    queues.hear("a")
    assert [queues.next(now=0.0), queues.next(now=0.0)] == ["a", None]


# --- Replay queues ----------------------------------------------------------------------------------------------------


def test_a_replay_queue_is_asked_only_after_a_message_has_told_of_it_and_until_it_has_nothing() -> None:
    queues = queues_of("a")
    assert queues.next_replay() is None
    queues.hear("a/replay")
    assert queues.next_replay() == "a/replay"
    queues.answered("a/replay", claimed=2, wanted=2, now=0.0)
    assert queues.next_replay() == "a/replay"
    queues.answered("a/replay", claimed=1, wanted=2, now=0.0)
    assert queues.next_replay() is None


def test_it_is_never_among_the_live_queues_and_one_that_is_heard_of_while_it_is_asked_is_asked_again() -> None:
    queues = queues_of("a")
    queues.hear("a/replay")
    assert [queues.next(now=0.0) for _ in range(2)] == ["a", "a"]
    queues.next_replay()
    queues.hear("a/replay")
    queues.answered("a/replay", claimed=0, wanted=2, now=0.0)
    assert queues.next_replay() == "a/replay"


def test_replay_queues_are_asked_in_turn() -> None:
    queues = queues_of("a", "b")
    for name in ("a/replay", "b/replay"):
        queues.hear(name)
    assert [queues.next_replay() for _ in range(3)] == ["a/replay", "b/replay", "a/replay"]
