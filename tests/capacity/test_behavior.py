"""Stabilisation windows and policies of an autoscaler, each rule with a case that was computed by hand."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from workers.capacity.behavior import DOWN, NOT_GIVEN, UP, Behavior, Changes, Kind, Policy, Rules, Select


def changes(up: Rules = UP, down: Rules = DOWN, *, least: int = 1, most: int = 100) -> Changes:
    return Changes(Behavior(up, down), least, most)


def followed(found: Changes, current: int, wanted: Sequence[tuple[float, int]]) -> list[int]:
    """Return the replicas after each recommendation, which comes at a moment."""
    sizes = []
    for at, count in wanted:
        current = found.allowed(count, current=current, at=at)
        sizes.append(current)
    return sizes


def rules(*policies: Policy, seconds: float = 0.0, select: Select = Select.MAX) -> Rules:
    return Rules(seconds, policies, select)


def test_a_policy_of_pods_allows_so_many_in_each_period() -> None:
    found = changes(rules(Policy(Kind.PODS, 2, 30)))
    assert followed(found, 1, [(0, 9), (15, 9), (30, 9), (45, 9), (60, 9), (90, 9)]) == [3, 3, 5, 5, 7, 9]


def test_a_policy_of_percent_is_of_the_size_at_the_periods_beginning_and_rounded_up() -> None:
    found = changes(rules(Policy(Kind.PERCENT, 50, 60)))
    # 1 x 1.5 = 1.5: 2. Within the minute still by the 1 at its beginning. Then 2 x 1.5 = 3, and 3 x 1.5 = 4.5: 5.
    assert followed(found, 1, [(0, 9), (30, 9), (60, 9), (120, 9)]) == [2, 2, 3, 5]


def test_of_several_policies_the_one_that_changes_most_counts() -> None:
    both = (Policy(Kind.PODS, 4, 15), Policy(Kind.PERCENT, 100, 15))
    assert followed(changes(rules(*both)), 2, [(0, 50), (15, 50), (30, 50)]) == [6, 12, 24]


def test_or_the_one_that_changes_least() -> None:
    both = (Policy(Kind.PODS, 4, 15), Policy(Kind.PERCENT, 100, 15))
    assert followed(changes(rules(*both, select=Select.MIN)), 2, [(0, 50), (15, 50), (30, 50)]) == [4, 8, 12]


def test_the_defaults_of_kubernetes_add_four_or_double() -> None:
    assert followed(changes(), 1, [(0, 50), (15, 50), (30, 50)]) == [5, 10, 20]


def test_without_any_behavior_an_older_rule_allows_four_or_doubles() -> None:
    found = Changes(NOT_GIVEN, 1, 100)
    assert followed(found, 1, [(0, 50), (15, 50), (30, 50)]) == [4, 8, 16]
    assert followed(Changes(NOT_GIVEN, 1, 100), 9, [(0, 1), (299, 1), (300, 1)]) == [9, 9, 1]


def test_a_direction_may_be_disabled() -> None:
    found = changes(rules(*UP.policies, select=Select.DISABLED), rules(*DOWN.policies, select=Select.DISABLED))
    assert followed(found, 5, [(0, 9), (15, 1)]) == [5, 5]


def test_down_only_to_the_highest_number_of_the_window() -> None:
    # Down at 315 s, when the last recommendation of 4 (at 15 s) is as old as the window.
    found = changes(down=rules(*DOWN.policies, seconds=300))
    assert followed(found, 4, [(0, 4), (15, 4), (30, 1), (300, 2), (314, 1), (315, 1), (600, 1)]) == [
        4, 4, 4, 4, 4, 2, 1,
    ]  # fmt: skip


def test_the_size_at_the_beginning_counts_as_recommended() -> None:
    assert followed(changes(), 4, [(0, 1), (299, 1), (300, 1)]) == [4, 4, 1]


def test_up_only_to_the_lowest_number_of_the_window() -> None:
    found = changes(rules(*UP.policies, seconds=60))
    assert followed(found, 1, [(0, 4), (30, 3), (59, 4), (60, 4), (90, 4)]) == [1, 1, 1, 3, 4]


def test_one_worker_a_minute_after_five_minutes_as_the_base_has_it() -> None:
    found = changes(down=rules(Policy(Kind.PODS, 1, 60), seconds=300))
    every = [(at, 1) for at in range(0, 600, 15)]
    sizes = followed(found, 5, every)
    assert [(at, size) for (at, _), before, size in zip(every, [5, *sizes], sizes, strict=False) if size != before] == [
        (300, 4), (360, 3), (420, 2), (480, 1),
    ]  # fmt: skip


def test_down_by_percent_is_rounded_down() -> None:
    # 5 x 0.9 = 4.5: 4.
    assert followed(changes(down=rules(Policy(Kind.PERCENT, 10, 60))), 5, [(0, 1), (60, 1)]) == [4, 3]


def test_what_came_in_a_period_makes_room_for_what_goes() -> None:
    # Two pods came 15 s ago: at the period's beginning there were 2, and one less than that may stay.
    found = changes(rules(Policy(Kind.PODS, 2, 30)), rules(Policy(Kind.PODS, 1, 60)))
    assert followed(found, 2, [(0, 4), (15, 1)]) == [4, 1]


@given(
    wanted=st.lists(st.integers(0, 60), min_size=1, max_size=60),
    up=st.integers(1, 5),
    down=st.integers(1, 5),
    window=st.sampled_from([0.0, 60.0, 300.0]),
)
def test_it_stays_within_its_bounds_and_changes_no_faster_than_its_policies(
    wanted: list[int], up: int, down: int, window: float
) -> None:
    found = changes(
        rules(Policy(Kind.PODS, up, 15)), rules(Policy(Kind.PODS, down, 15), seconds=window), least=2, most=40
    )
    sizes = [10, *followed(found, 10, [(15.0 * number, count) for number, count in enumerate(wanted)])]
    for before, after, asked in zip(sizes[:-1], sizes[1:], wanted, strict=True):
        assert 2 <= after <= 40
        assert -down <= after - before <= up
        assert (after - before) * (asked - before) >= 0
