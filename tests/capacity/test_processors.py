"""How pods share the cores: schedules computed by hand, closed forms, and what holds for any load."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.capacity.processors import Cores, Group, level


def ends(cores: Cores, works: list[tuple[float, Group, float]]) -> list[float]:
    """Return when each piece of work ends: it comes at a moment, for a group, and takes so many CPU seconds."""
    found = [math.nan] * len(works)
    coming = sorted(enumerate(works), key=lambda each: each[1][0])
    while coming or cores.next():
        group = cores.next()
        if group is None or (coming and coming[0][1][0] < group.next_at):
            number, (at, its_group, cpu_seconds) = coming.pop(0)
            cores.add(its_group, number, cpu_seconds=cpu_seconds, at=at)
        else:
            at = group.next_at
            found[cores.end(group, at)] = at
    return found


def group(limit: float = math.inf) -> Group:
    return Group(at=0.0, limit=limit)


def test_a_process_uses_one_core_at_most() -> None:
    assert ends(Cores(4), [(0.0, group(), 3.0)]) == [3.0]


def test_processes_share_the_cores_alike() -> None:
    one = group()
    # Two cores for four: each has half of one. The first two end at 2; then each has a core.
    assert ends(Cores(2), [(0.0, one, cpu) for cpu in (1.0, 1.0, 2.0, 3.0)]) == [2.0, 2.0, 3.0, 4.0]


def test_a_later_process_slows_the_earlier_one() -> None:
    one = group()
    # Alone until 1; then half a core each: the first's 1 s left takes until 3; the other has 2 - 1 left, until 4.
    assert ends(Cores(1), [(0.0, one, 2.0), (1.0, one, 2.0)]) == [3.0, 4.0]


def test_pods_share_alike_however_many_processes_they_have() -> None:
    few, many = group(), group()
    works = [(0.0, few, 1.0), *((0.0, many, 1.0) for _ in range(3))]
    # One core, half for each pod: the lone process ends at 2, when each of the three has done a third of a second.
    assert ends(Cores(1), works) == pytest.approx([2.0, 4.0, 4.0, 4.0])


def test_what_a_pod_cannot_use_the_others_get() -> None:
    few, many = group(), group()
    works = [(0.0, few, 2.0), *((0.0, many, 1.0) for _ in range(4))]
    # Three cores: the lone process uses one, and the four share two.
    assert ends(Cores(3), works) == pytest.approx([2.0, 2.0, 2.0, 2.0, 2.0])


def test_a_pod_uses_no_more_than_its_limit() -> None:
    limited = group(0.5)
    assert ends(Cores(4), [(0.0, limited, 1.0), (0.0, limited, 1.0)]) == [4.0, 4.0]


def test_programs_beside_the_workers_come_first() -> None:
    cores, worker = Cores(1), group()
    # From 1 to 2 there is nothing for the worker.
    assert ends(cores, [(0.0, worker, 2.0), (1.0, cores.first, 1.0)]) == [3.0, 2.0]


def test_a_cancelled_process_leaves_its_share_to_the_others() -> None:
    cores, one = Cores(1), group()
    cores.add(one, "stays", cpu_seconds=2.0, at=0.0)
    cores.add(one, "goes", cpu_seconds=2.0, at=0.0)
    cores.cancel(one, {"goes"}, 1.0)
    assert (one.next_at, cores.end(one, one.next_at)) == (2.5, "stays")
    assert cores.next() is None


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_a_core_that_is_shared_answers_like_m_g_1_with_processor_sharing(load: float) -> None:
    """The mean time in the system is the mean work by the share that is free: 1 / (1 - load)."""
    chance, at, works, one = random.Random(4), 0.0, [], group()
    for _ in range(40_000):
        at += chance.expovariate(load)
        works.append((at, one, 1.0))
    took = [end - begin for end, (begin, _, _) in zip(ends(Cores(1), works), works, strict=True)]
    assert sum(took) / len(took) == pytest.approx(1 / (1 - load), rel=0.08)


@given(
    total=st.floats(0.1, 8),
    works=st.lists(st.tuples(st.floats(0, 10), st.integers(0, 3), st.floats(0.001, 5)), min_size=1, max_size=40),
    limits=st.lists(st.sampled_from([0.3, 1.0, math.inf]), min_size=4, max_size=4),
)
def test_all_work_is_done_once_and_no_core_is_used_twice(
    total: float, works: list[tuple[float, int, float]], limits: list[float]
) -> None:
    cores, groups = Cores(total), [group(limit) for limit in limits]
    found = ends(cores, [(at, groups[number], cpu) for at, number, cpu in works])
    last = max(found)
    assert sum(one.used(last) for one in groups) == pytest.approx(sum(cpu for _, _, cpu in works), rel=1e-6)
    for end, (at, number, cpu) in zip(found, works, strict=True):
        assert end >= at + cpu / min(1.0, total, limits[number]) - 1e-6
    assert last <= 10 + sum(cpu for _, _, cpu in works) / min(total, 0.3) + 1e-6


@given(total=st.floats(0.1, 50), demands=st.lists(st.floats(0.1, 70), min_size=1, max_size=20))
def test_the_level_uses_all_cores_or_leaves_no_demand(total: float, demands: list[float]) -> None:
    found = level(total, demands)
    assert sum(min(demand, found) for demand in demands) == pytest.approx(min(total, sum(demands)))
