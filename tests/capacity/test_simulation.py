"""A simulated fleet: schedules computed by hand, a queue's closed form, and what holds for any load."""

import math
import random
from array import array
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.capacity.autoscaler import Depth
from workers.capacity.behavior import Behavior, Kind, Policy, Rules
from workers.capacity.given import BASE
from workers.capacity.jobs import VARIES, Arrival, Handlers, Jobs, Synthetic, jobs_of, multiplied, synthetic
from workers.capacity.pods import EXIT_SECONDS, PodKind
from workers.capacity.policies import Scaling, fixed, named
from workers.capacity.results import Holder, Result, quantile
from workers.capacity.simulation import ALONE_CPU_SECONDS, Setup, Simulation

QUICK = PodKind(concurrency=70)
AT_ONCE = Behavior(Rules(0.0, Behavior().up.policies), Rules(0.0, Behavior().down.policies))


def jobs(*each: tuple[float, float, float]) -> Jobs:
    """Return jobs by arrival, CPU seconds and seconds of waiting."""
    return Jobs(*(array("d", column) for column in zip(*each, strict=True)))


def evenly(count: int, *, over: float, cpu: float, wait: float) -> Jobs:
    return jobs(*((number * over / count, cpu, wait) for number in range(count)))


def run(what: Jobs, scaling: Scaling, *, kind: PodKind = QUICK, **setup: Any) -> Simulation:
    simulation = Simulation(what, Setup(kind=kind, **setup), scaling)
    simulation.run()
    return simulation


def result(what: Jobs, scaling: Scaling, *, kind: PodKind = QUICK, **setup: Any) -> Result:
    return Simulation(what, Setup(kind=kind, **setup), scaling).run()


def test_a_job_that_comes_alone_does_not_wait_and_takes_its_time_and_what_it_costs_beside() -> None:
    found = result(jobs((5.0, 0.5, 2.0)), fixed(1))
    assert found.drained_at == pytest.approx(7.5 + ALONE_CPU_SECONDS)
    assert (found.longest, found.most_waiting, found.unfinished, found.holder) == (0.0, 0, 0, None)


def test_with_every_child_busy_jobs_wait_in_the_order_in_which_they_came() -> None:
    one_at_a_time = PodKind(concurrency=1)
    simulation = run(jobs((0.0, 0.0, 10.0), (1.0, 0.0, 10.0), (2.0, 0.0, 10.0)), fixed(1), kind=one_at_a_time)
    assert list(simulation.waits) == pytest.approx([0.0, 9.0, 18.0], abs=0.01)


def test_a_job_goes_to_the_worker_with_the_most_free_children() -> None:
    found = result(jobs(*[(0.0, 1.0, 0.0)] * 4), fixed(4), cores=4.0)
    assert found.drained_at == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_child_with_equal_jobs_is_a_queue_m_d_1(load: float) -> None:
    """Pollaczek and Khinchine: the mean wait is half of load / (1 - load) jobs."""
    chance, at, each = random.Random(3), 0.0, []
    for _ in range(40_000):
        at += chance.expovariate(load)
        each.append((at, 0.0, 1.0 - ALONE_CPU_SECONDS))
    simulation = run(jobs(*each), fixed(1), kind=PodKind(concurrency=1), look_seconds=1000.0)
    assert sum(simulation.waits) / len(each) == pytest.approx(load / (2 * (1 - load)), rel=0.06)


def test_a_fleet_of_fixed_size_costs_its_size_times_the_time() -> None:
    found = result(evenly(100, over=60, cpu=0.0, wait=1.0), fixed(3))
    assert found.replica_seconds == pytest.approx(3 * found.seconds)
    assert found.replica_hours(seconds=3600.0) == pytest.approx(3.0)


def test_what_an_autoscaled_fleet_costs_is_the_area_below_its_pods() -> None:
    found = result(evenly(5000, over=60, cpu=0.02, wait=0.5), BASE.scaling, look_seconds=0.1)
    below = sum(moment.wanted * 0.1 for moment in found.moments)
    # A pod that stops counts until it is gone, which is later than it is no longer wanted.
    assert below <= found.replica_seconds <= below + 5 * (EXIT_SECONDS + 1)


def starting(behavior: Behavior = AT_ONCE, **bounds: int) -> Scaling:
    """Return a policy by the backlog, which shrinks as fast as it grows."""
    return Scaling("depth", (Depth(35, 20_000),), behavior, bounds.get("least", 1), bounds.get("most", 5))


def test_a_new_pod_works_after_its_container_started_and_its_start_was_computed_and_is_ready_after_its_probes() -> None:
    kind = PodKind(concurrency=70, container_seconds=10.0)
    simulation = run(evenly(6000, over=60, cpu=0.0, wait=2.0), starting(), kind=kind)
    first, *others = simulation.every_pod
    assert others
    for pod in others:
        assert pod.container_at == pod.created_at + 10.0
        # 1.9 + 70 x 0.008 = 2.46 s of the CPU: known by the startup probe at 4 s, and by the readiness probe at 5 s.
        assert pod.ready_at == pytest.approx(pod.container_at + 5.0)
    assert first.ready_at < 0


def test_the_start_of_a_pod_takes_longer_where_the_cores_are_short() -> None:
    kind = PodKind(concurrency=70)
    busy = run(evenly(4000, over=20, cpu=0.1, wait=0.0), starting(), kind=kind, cores=0.5)
    first_new = busy.every_pod[1]
    # Two pods share half a core at least: its 2.46 s take 9.84 s or more.
    assert first_new.ready_at - first_new.container_at >= 10.0


def test_a_pod_that_stops_ends_its_runs_and_takes_no_more() -> None:
    patient = replace(QUICK, patience_seconds=85.0)
    found = run(evenly(400, over=30, cpu=0.02, wait=60.0), starting(), kind=patient, seed=2)
    assert len(found.every_pod) > 1
    assert (found.interrupted, found.finished) == (0, 400)


def test_runs_that_outlast_the_grace_are_handed_back_and_run_again_from_their_beginning() -> None:
    impatient = replace(QUICK, patience_seconds=20.0)
    simulation = run(evenly(400, over=30, cpu=0.02, wait=60.0), starting(), kind=impatient, seed=2)
    assert simulation.interrupted > 0
    assert simulation.finished == 400
    # The wait is until a job's first run, not until the run that ended.
    assert max(simulation.waits) < 120
    assert simulation.drained_at > 120


def test_a_pod_is_gone_when_its_grace_is_over() -> None:
    impatient = replace(QUICK, patience_seconds=20.0)
    simulation = run(evenly(400, over=30, cpu=0.02, wait=300.0), starting(), kind=impatient, seed=2)
    gone = [pod for pod in simulation.every_pod if not math.isinf(pod.gone_at)]
    assert gone
    assert all(not pod.running for pod in gone)


def test_what_holds_jobs_back_is_named() -> None:
    assert result(evenly(2000, over=10, cpu=0.1, wait=0.0), fixed(2), cores=2.0).holder is Holder.CORES
    assert result(evenly(2000, over=10, cpu=0.0, wait=5.0), fixed(2)).holder is Holder.MOST
    slow = replace(QUICK, container_seconds=300.0)
    assert result(evenly(3000, over=10, cpu=0.001, wait=5.0), starting(), kind=slow).holder is Holder.START


def test_workers_are_scaled_by_what_prometheus_scraped_and_by_nothing_newer() -> None:
    scaling = named("depth:10", like=starting(), request_cores=0.25)
    burst = evenly(3000, over=1, cpu=0.0, wait=5.0)
    soon = run(burst, scaling, scrape_seconds=1.0)
    late = run(burst, scaling, scrape_seconds=200.0)
    assert soon.every_pod[1].created_at < 25.0 < late.every_pod[1].created_at


def test_the_same_seed_gives_the_same_and_another_one_other_intervals() -> None:
    burst = evenly(8000, over=30, cpu=0.01, wait=0.2)
    assert result(burst, BASE.scaling, seed=1) == result(burst, BASE.scaling, seed=1)
    assert result(burst, BASE.scaling, seed=1).moments != result(burst, BASE.scaling, seed=2).moments


def test_a_load_that_never_ends_is_given_up_on() -> None:
    found = result(jobs((0.0, 0.0, 100_000.0), (0.0, 0.0, 1.0)), fixed(1), kind=PodKind(concurrency=1), look_seconds=60)
    assert found.unfinished == 2
    assert found.longest == pytest.approx(86_400.0, rel=0.01)


@settings(max_examples=40)
@given(
    each=st.lists(st.tuples(st.floats(0, 60), st.floats(0, 2), st.floats(0, 40)), min_size=1, max_size=60),
    concurrency=st.integers(1, 5),
    cores=st.floats(0.5, 4),
    most=st.integers(1, 4),
    patience=st.floats(1, 90),
    policy=st.sampled_from(["cpu:60", "age:5", "depth:2", "cpu:30+depth:5"]),
)
def test_every_job_ends_once_and_no_worker_runs_more_than_its_children(
    *, each: list[tuple[float, float, float]], concurrency: int, cores: float, most: int, patience: float, policy: str
) -> None:
    scaling = named(policy, like=starting(most=most), request_cores=0.25)
    kind = PodKind(concurrency=concurrency, patience_seconds=patience)
    simulation = Simulation(jobs(*sorted(each)), Setup(kind=kind, cores=cores), scaling)
    found = simulation.run()
    assert (found.unfinished, simulation.finished) == (0, len(each))
    assert all(wait >= 0 for wait in simulation.waits)
    for moment in found.moments:
        assert 1 <= moment.wanted <= most
        assert moment.ready <= most
        assert moment.running <= concurrency * len(simulation.every_pod)
    assert found.replica_seconds >= found.seconds - 1e-6
    assert found.p50 <= found.p99 <= found.longest


def test_more_workers_from_the_beginning_never_make_waits_longer_where_cores_are_plenty() -> None:
    burst = evenly(3000, over=20, cpu=0.0, wait=1.0)
    waits = [result(burst, fixed(count)).p99 for count in (1, 2, 3, 5, 8)]
    assert waits == sorted(waits, reverse=True)


def test_a_quantile_is_the_value_that_a_share_does_not_exceed() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (50.0, 99.0, 100.0)
    assert quantile([], 0.5) == 0.0


def times(found: Iterable[Arrival]) -> list[float]:
    return [arrival.at for arrival in found]


def test_a_burst_comes_evenly_and_a_rate_at_random() -> None:
    chance = random.Random(1)
    assert times(synthetic(Synthetic(burst=4, over_seconds=2.0, burst_at=10.0), times=1, chance=chance)) == [
        10.0, 10.5, 11.0, 11.5,
    ]  # fmt: skip
    steady = times(synthetic(Synthetic(rate=50.0, seconds=100.0), times=2, chance=chance))
    assert len(steady) == pytest.approx(10_000, rel=0.05)
    assert 0 <= steady[0] < steady[-1] < 100
    assert steady == sorted(steady)


def test_a_trace_is_multiplied_by_whole_and_by_broken_factors() -> None:
    trace = [Arrival(float(number), "shop.count") for number in range(1000)]
    assert multiplied(trace, times=1, chance=random.Random(1)) == trace
    more = multiplied(trace, times=2.5, chance=random.Random(1))
    assert len(more) == pytest.approx(2500, rel=0.03)
    assert times(more) == sorted(times(more))
    assert len(multiplied(trace, times=0.5, chance=random.Random(1))) == pytest.approx(500, rel=0.1)


def test_a_job_takes_the_time_of_a_run_of_its_handler_or_of_any_if_none_was_measured() -> None:
    handlers = Handlers({"shop.count": [1.0], "shop.bill": [3.0]}, cpu_share=0.25)
    arrivals = [Arrival(0.0, "shop.count"), Arrival(1.0, "shop.bill"), *[Arrival(2.0, "shop.new")] * 50]
    found = jobs_of(arrivals, handlers, chance=random.Random(1))
    assert list(found.cpu_seconds[:2]) == [0.25, 0.75]
    assert list(found.wait_seconds[:2]) == pytest.approx([0.75, 2.25], rel=VARIES)
    assert set(found.cpu_seconds[2:]) == {0.25, 0.75}
    assert found.longest_seconds == pytest.approx(3.0, rel=VARIES)
    assert found.lasting_more_than(2.0) > 1
    assert len(set(found.wait_seconds[2:])) == 50  # No two take exactly as long.


def test_one_worker_a_minute_leaves_after_five_minutes_of_low_load_as_the_base_has_it() -> None:
    found = result(evenly(30_000, over=40, cpu=0.02, wait=0.18), BASE.scaling)
    ends = [after.at for before, after in zip(found.moments, found.moments[1:], strict=False)
            if after.wanted < before.wanted]  # fmt: skip
    assert ends[0] >= found.drained_at + 300 - 15
    assert all(later - earlier >= 58 for earlier, later in pairwise(ends))


def test_two_pods_each_half_minute_come_as_the_base_has_it() -> None:
    simulation = run(evenly(30_000, over=40, cpu=0.02, wait=0.18), BASE.scaling)
    came = sorted(pod.created_at for pod in simulation.every_pod if pod.created_at >= 0)
    assert len(came) == 4
    assert BASE.scaling.behavior.up.policies == (Policy(Kind.PODS, 2, 30.0),)
    assert came[2] - came[0] >= 30.0
