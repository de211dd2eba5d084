"""Who gets which job: the dispatcher's desk, without sockets, processes or an inbox."""

from typing import Any

from msgspec.structs import replace

from tests.support.claimed_jobs import DONE, claimed_job, ended_run
from webhooks.inbox.claimed_job import ClaimedJob
from workers.dispatcher.desk import (
    AHEAD_SECONDS,
    IDLE_SECONDS,
    LARGE_BYTES,
    LATE_SECONDS,
    MOST_WAITING,
    SHORT_SECONDS,
    Desk,
    EndedRun,
)
from workers.runs.messages import Entered, RunEnded
from workers.runs.registration import TURN_SECONDS

LARGE = {"body": None, "body_bytes": LARGE_BYTES // 2 + 1}


def desk_of(*pids: int, now: float = 0.0, seconds: float = 0.01) -> Desk:
    """Return a desk whose children are all in their turn, and have had a run that took so long."""
    desk = Desk(len(pids))
    for place, pid in enumerate(pids):
        desk.entered(place, Entered(pid, "default"), now=now)
        job = claimed_job(pk=10**6)
        message = RunEnded(1, job.pk, job.attempt, job, DONE, pid, now - seconds, now, is_last=False)
        desk.run_ended(place, message, now=now)
    record_all(desk)
    desk.asked(now=now)
    desk.asked(now=now)
    desk.is_claiming = False
    return desk


def jobs(count: int, **values: Any) -> list[ClaimedJob]:
    return [claimed_job(pk=number, **values) for number in range(1, count + 1)]


def gives(desk: Desk, *, now: float = 0.0) -> list[tuple[int, int]]:
    return [(place, job.pk) for place, job in desk.gives(now=now)]


def end(desk: Desk, place: int, *, now: float = 0.0, is_last: bool = False, seconds: float = 0.01) -> EndedRun:
    """The child in this place says that the job which it was given first has ended."""
    child = desk.places[place]
    run = ended_run(
        child.given[0], place=place, number=child.recorded + len(child.unrecorded) + 1, pid=child.pid,
        began_at=now - seconds, ended_at=now, is_last=is_last,
    )  # fmt: skip
    desk.run_ended(place, run.message, now=now)
    return run


def record_all(desk: Desk) -> None:
    ended, desk.ended = desk.ended, []
    for run in ended:
        desk.recorded(run)


def leaves(desk: Desk, *, now: float, is_stopping: bool = False) -> list[int]:
    return list(desk.leaves(now=now, is_stopping=is_stopping))


def test_each_free_child_gets_a_job_before_any_gets_a_second_one_ahead() -> None:
    desk = desk_of(10, 11, 12)
    desk.claimed(jobs(5), now=0.0)
    assert gives(desk) == [(0, 1), (1, 2), (2, 3), (0, 4), (1, 5)]
    assert gives(desk) == []


def test_children_that_are_in_no_turn_get_nothing_and_nothing_is_claimed_for_them() -> None:
    desk = Desk(3)
    assert desk.wanted(now=0.0) == 0
    desk.claimed(jobs(1), now=0.0)
    assert gives(desk) == []


def test_a_job_behind_a_long_one_is_taken_back_once_another_child_is_free() -> None:
    desk = desk_of(10, 11)
    desk.claimed(jobs(3), now=0.0)
    assert gives(desk) == [(0, 1), (1, 2), (0, 3)]
    assert desk.take_back(now=0.0) is None
    end(desk, 1)
    assert desk.take_back(now=0.0) == 0
    desk.given_back(0, desk.places[0].given[1], now=0.0)
    assert gives(desk) == [(1, 3)]
    assert desk.take_back(now=0.0) is None


def test_nothing_is_taken_back_while_another_job_is_ready_for_the_free_child() -> None:
    desk = desk_of(10, 11)
    desk.claimed(jobs(3), now=0.0)
    gives(desk)
    end(desk, 1)
    desk.claimed([claimed_job(pk=9)], now=0.0)
    assert desk.take_back(now=0.0) is None


def test_a_turn_without_work_ends_after_a_short_while_but_not_while_jobs_may_come() -> None:
    desk = desk_of(10)
    assert leaves(desk, now=IDLE_SECONDS / 2) == []
    desk.is_claiming = True
    assert leaves(desk, now=IDLE_SECONDS) == []
    desk.is_claiming = False
    assert leaves(desk, now=IDLE_SECONDS) == [0]
    assert leaves(desk, now=IDLE_SECONDS) == []


def test_a_turn_ends_only_once_all_of_its_outcomes_are_recorded() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(1), now=0.0)
    gives(desk)
    end(desk, 0)
    assert leaves(desk, now=TURN_SECONDS) == []
    record_all(desk)
    assert desk.places[0].recorded == 2
    assert leaves(desk, now=TURN_SECONDS) == [0]


def test_a_child_whose_turn_is_over_takes_no_more_if_others_do() -> None:
    desk = Desk(2)
    desk.entered(0, Entered(10, "default"), now=0.0)
    desk.entered(1, Entered(11, "default"), now=TURN_SECONDS - 1)
    desk.claimed(jobs(3), now=TURN_SECONDS)
    assert gives(desk, now=TURN_SECONDS) == [(1, 1)]
    assert leaves(desk, now=TURN_SECONDS) == [0]


def test_a_child_whose_turn_is_over_goes_on_if_a_job_would_wait_for_nobody() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(1), now=TURN_SECONDS)
    assert leaves(desk, now=TURN_SECONDS) == []
    assert gives(desk, now=TURN_SECONDS) == [(0, 1)]


def test_a_child_that_is_to_be_replaced_gets_nothing_more() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(1), now=0.0)
    gives(desk)
    end(desk, 0, is_last=True)
    assert desk.wanted(now=0.0) == 0
    record_all(desk)
    assert leaves(desk, now=0.0) == [0]


def test_in_a_stop_every_idle_child_leaves_at_once() -> None:
    desk = desk_of(10, 11)
    desk.claimed(jobs(1), now=0.0)
    gives(desk)
    assert leaves(desk, now=0.0, is_stopping=True) == [1]


def test_what_an_ended_child_was_given_comes_back_and_only_from_that_child() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(2), now=0.0)
    gives(desk)
    assert desk.child_ended(0, 99) == []
    assert [job.pk for job in desk.child_ended(0, 10)] == [1, 2]
    assert desk.wanted(now=0.0) == 0


def test_an_outcome_of_the_child_before_does_not_count_for_the_one_in_its_place() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(1), now=0.0)
    gives(desk)
    run = end(desk, 0)
    desk.child_ended(0, 10)
    desk.entered(0, Entered(20, "default"), now=0.0)
    desk.recorded(run)
    assert (desk.places[0].unrecorded, desk.places[0].recorded) == (set(), 0)


def test_large_bodies_wait_for_room_in_the_budget_and_small_ones_pass_them_by() -> None:
    desk = desk_of(10, 11, 12)
    first, second = (claimed_job(pk=pk, **LARGE) for pk in (1, 2))
    desk.claimed([first, second, claimed_job(pk=3)], now=0.0)
    assert gives(desk) == [(0, 1), (1, 3)]
    end(desk, 0)
    assert gives(desk) == [(0, 2)]


def test_one_body_larger_than_the_budget_is_worked_on_alone() -> None:
    desk = desk_of(10, 11)
    desk.claimed([claimed_job(pk=pk, body=None, body_bytes=2 * LARGE_BYTES) for pk in (1, 2)], now=0.0)
    assert gives(desk) == [(0, 1)]
    end(desk, 0)
    assert gives(desk) == [(0, 2)]


def test_a_claim_that_waits_too_long_is_given_back_and_so_is_one_for_which_no_child_is_left() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(3), now=0.0)
    gives(desk)
    assert desk.overdue(now=LATE_SECONDS) == []
    assert [job.pk for job in desk.overdue(now=LATE_SECONDS + 0.1)] == [3]
    empty = Desk(1)
    empty.claimed(jobs(1), now=0.0)
    assert [job.pk for job in empty.overdue(now=0.0)] == [1]


def test_a_large_body_may_wait_longer_for_its_share_of_the_budget() -> None:
    desk = desk_of(10, 11)
    desk.claimed([claimed_job(pk=pk, **LARGE) for pk in (1, 2)], now=0.0)
    gives(desk)
    assert desk.overdue(now=AHEAD_SECONDS) == []
    assert [job.pk for job in desk.overdue(now=AHEAD_SECONDS + 0.1)] == [2]


def test_a_job_that_was_lost_before_is_given_only_to_a_free_child_and_once_its_begin_is_noted() -> None:
    desk = desk_of(10, 11)
    ordinary, lost = claimed_job(pk=1), claimed_job(pk=2, lost=1)
    desk.claimed([lost, ordinary], now=0.0)
    assert gives(desk) == [(0, 1)]
    assert desk.begins(now=0.0) == [lost]
    assert desk.begins(now=0.0) == []
    desk.not_noted([lost])
    assert desk.begins(now=0.0) == [lost]
    desk.noted([lost], [lost])
    assert gives(desk) == [(1, 2)]


def test_a_begin_is_noted_only_where_the_budget_has_room_for_the_body() -> None:
    desk = desk_of(10, 11, 12, 13)
    desk.claimed([claimed_job(pk=1, **LARGE), *(claimed_job(pk=pk, lost=1, **LARGE) for pk in (2, 3))], now=0.0)
    assert gives(desk) == [(0, 1)]
    assert desk.begins(now=0.0) == []  # Though three children are free.

    end(desk, 0)
    (next_one,) = desk.begins(now=0.0)
    assert next_one.pk == 2  # One of both: there is no room for two.


def test_a_job_whose_begin_could_not_be_noted_is_no_longer_ours() -> None:
    desk = desk_of(10)
    lost = claimed_job(pk=2, lost=1)
    desk.claimed([lost], now=0.0)
    desk.begins(now=0.0)
    desk.noted([lost], [])
    assert not desk.ready


def test_every_claim_is_known_wherever_it_is() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(3), now=0.0)
    gives(desk)
    assert desk.known() == {(1, 1), (2, 1), (3, 1)}
    end(desk, 0)
    assert desk.known() == {(1, 1), (2, 1), (3, 1)}
    record_all(desk)
    assert desk.known() == {(2, 1), (3, 1)}


def test_a_second_answer_of_a_child_changes_nothing() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(1), now=0.0)
    gives(desk)
    desk.entered(0, Entered(10, "default"), now=1.0)
    assert [job.pk for job in desk.places[0].given] == [1]


def test_the_same_job_in_a_later_attempt_is_another_claim() -> None:
    desk = desk_of(10)
    [job] = jobs(1)
    desk.claimed([job, job._replace(attempt=2)], now=0.0)
    gives(desk)
    end(desk, 0)
    assert [one.attempt for one in desk.places[0].given] == [2]


def test_nothing_waits_longer_behind_a_run_than_its_lease_allows_for() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(2), now=0.0)
    gives(desk)
    assert desk.late(now=LATE_SECONDS) == []
    assert desk.late(now=LATE_SECONDS + 1) == [0]
    desk.given_back(0, desk.places[0].given[1], now=LATE_SECONDS + 1)
    assert [job.pk for job in desk.overdue(now=LATE_SECONDS + 1)] == [2]
    desk.claimed([claimed_job(pk=3)], now=LATE_SECONDS + 1)
    assert gives(desk, now=LATE_SECONDS + 1) == []
    end(desk, 0, now=LATE_SECONDS + 2)
    assert gives(desk, now=LATE_SECONDS + 2) == [(0, 3)]


def test_nothing_is_claimed_ahead_of_a_handler_whose_runs_are_long_or_not_known() -> None:
    for desk in (desk_of(10, 11, seconds=SHORT_SECONDS), Desk(2)):
        for place in (0, 1):
            desk.entered(place, Entered(10 + place, "default"), now=0.0)
        assert desk.wanted(now=0.0) == 2
        desk.claimed(jobs(3), now=0.0)
        assert gives(desk) == [(0, 1), (1, 2)]


def test_behind_a_run_of_a_long_handler_nothing_waits_though_the_child_has_run_short_ones() -> None:
    desk = desk_of(10)
    desk.claimed([claimed_job(pk=1, handler="shop.report"), claimed_job(pk=2)], now=0.0)
    assert gives(desk) == [(0, 1)]
    end(desk, 0, now=9.0, seconds=9.0)
    assert gives(desk, now=9.0) == [(0, 2)]


def test_as_many_jobs_are_claimed_ahead_as_end_until_the_claim_after_the_next_one() -> None:
    desk = desk_of(10)
    desk.claimed(jobs(6), now=0.0)
    for _ in range(4):
        list(desk.gives(now=0.0))
        end(desk, 0)
    list(desk.gives(now=0.0))
    assert len(desk.places[0].given) == 2
    desk.asked(now=0.0)
    assert desk.wanted(now=0.0) == 2 * 4
    desk.asked(now=0.0)
    assert desk.wanted(now=0.0) == 2 * 3, "Fewer and fewer, if none ends."
    desk.claimed(jobs(2), now=0.0)
    assert desk.wanted(now=0.0) == 2 * 3 - 2


def test_of_runs_that_take_next_to_nothing_more_wait_in_the_childs_socket() -> None:
    for seconds, waiting in ((0.0, MOST_WAITING), (0.002, 5), (0.02, 1), (SHORT_SECONDS, 0)):
        desk = desk_of(10, seconds=seconds)
        desk.claimed(jobs(20), now=0.0)
        assert len(gives(desk)) == 1 + waiting


def test_an_outcome_of_a_job_that_another_dispatcher_had_given_counts_once_the_child_says_of_which() -> None:
    desk = Desk(1)
    desk.entered(0, Entered(10, "default"), now=0.0)
    run = ended_run(claimed_job(pk=7), pid=10)
    desk.run_ended(0, run.message, now=0.0)
    assert desk.ended == []
    desk.run_ended(0, replace(run.message, job=run.job), now=0.0)
    assert [(one.place, one.job) for one in desk.ended] == [(0, run.job)]


def test_a_message_is_taken_only_for_a_child_that_no_other_message_counts_on() -> None:
    desk = Desk(2)
    desk.entered(0, Entered(10, "default"), now=0.0)
    assert not desk.takes_message(now=0.0), "The message that began the turn counts on the child."
    desk.asked(now=0.0)
    assert not desk.takes_message(now=0.0), "What is asked for is for the child."
    desk.is_claiming = False
    assert [desk.takes_message(now=0.0) for _ in range(2)] == [True, False]


def test_a_child_for_which_a_message_was_taken_does_not_leave_before_jobs_are_asked_for() -> None:
    desk = desk_of(10)
    desk.is_claiming = False
    assert desk.takes_message(now=IDLE_SECONDS)
    assert leaves(desk, now=IDLE_SECONDS) == []
    desk.asked(now=IDLE_SECONDS)
    desk.is_claiming = False
    assert leaves(desk, now=IDLE_SECONDS) == [0]
