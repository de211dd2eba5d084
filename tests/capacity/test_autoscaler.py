"""The HorizontalPodAutoscaler's rules for metrics, each with a case that was computed by hand from Kubernetes 1.34."""

from typing import Any

import pytest

from workers.capacity.autoscaler import Age, Autoscaler, Cpu, Depth, Metric, PodSeen, Seen, Tolerances, Usage
from workers.capacity.behavior import Behavior

REQUEST = 0.25
NOW = 1000.0
CPU = Cpu(60, REQUEST)
NOBODY_LIMITS = {"behavior": Behavior(), "least": 1, "most": 100}


def pod(percent: float | None, **values: Any) -> PodSeen:
    """Return a pod that has long been ready and uses so many percent of its request; None if nothing is known."""
    usage = None if percent is None else Usage(percent / 100 * REQUEST, NOW - 5, 15.0)
    return PodSeen(**{"started_at": 0.0, "changed_at": 20.0, "usage": usage} | values)


def seen(*pods: PodSeen, **values: Any) -> Seen:
    count = len([one for one in pods if not one.is_stopping])
    return Seen(at=NOW, wanted=count, replicas=count, pods=pods, **values)


def proposed(metric: Metric, what: Seen) -> int | None:
    return metric.proposed(what, Tolerances())


@pytest.mark.parametrize(
    ("percents", "count"),
    [
        ([90], 2),  # 90 / 60 = 1.5, of one pod: 1.5, rounded up.
        ([240], 4),
        ([120, 60], 3),  # 90 % of both requests.
        ([10, 10, 10], 1),  # 10 / 60 x 3 = 0.5.
        ([66], 1),  # 1.1: within the tolerance of 0.1.
        ([67], 2),
        ([54, 54], 2),  # 0.9: within it too.
        ([53, 53], 2),  # 0.883 x 2 = 1.77.
        ([53, 53, 53, 53, 53, 53, 53, 53, 53], 8),  # 7.95.
    ],
)
def test_cpu_is_the_usage_of_all_pods_by_the_requests_of_all_pods(percents: list[float], count: int) -> None:
    assert proposed(CPU, seen(*map(pod, percents))) == count


def test_utilization_is_whole_percents_rounded_down_of_whole_thousandths_of_a_core_rounded_up() -> None:
    assert proposed(CPU, seen(pod(66.8))) == 1  # 167 of 250: 66.8, so 66.
    assert proposed(CPU, seen(pod(66.9))) == 2  # 167.25, so 168 of 250: 67.2, so 67.


def test_pods_that_start_count_as_idle_where_there_would_be_more() -> None:
    young = pod(300, started_at=NOW - 40, changed_at=NOW - 10)
    # 300 / 60 = 5 for the one that counts; with two idle ones 100 / 60 x 3 = 5.
    assert proposed(CPU, seen(pod(300), young, young)) == 5
    # 110 / 60 = 1.83, with one idle 55 / 60 = 0.92: within the tolerance.
    assert proposed(CPU, seen(pod(110), young)) == 2
    # 90 / 60 = 1.5, and with two idle ones 30 / 60 = 0.5: that would turn the direction.
    assert proposed(CPU, seen(pod(90), young, young)) == 3


def test_pods_that_start_are_left_out_where_there_would_be_fewer() -> None:
    young = pod(300, started_at=NOW - 40, changed_at=NOW - 10)
    assert proposed(CPU, seen(pod(10), pod(10), young)) == 1  # 10 / 60 x 2.


@pytest.mark.parametrize(
    ("age", "ready_for", "counts"),
    [
        (60, 21, True),  # Measured from 20 s to 5 s ago: it was ready all the time.
        (60, 19, False),
        (299, 19, False),
        (301, 19, True),  # After the initialisation period the CPU counts at once.
    ],
)
def test_a_young_pod_counts_once_it_was_ready_for_all_that_was_measured(
    age: float, ready_for: float, counts: bool
) -> None:
    other = pod(300, started_at=NOW - age, changed_at=NOW - ready_for)
    # With it 180 / 60 x 2 = 6, without it (60 - 60) no change.
    assert proposed(CPU, seen(pod(60), other)) == (6 if counts else 2)


def test_an_old_pod_that_is_not_ready_counts_unless_it_never_was() -> None:
    was = pod(300, is_ready=False, changed_at=31.0)
    never = pod(300, is_ready=False, changed_at=29.0)
    assert proposed(CPU, seen(pod(60), was)) == 6
    assert proposed(CPU, seen(pod(60), never)) == 2


def test_pods_without_figures_use_nothing_where_there_would_be_more() -> None:
    # 240 / 60 = 4; with the other at 0: 120 / 60 x 2 = 4.
    assert proposed(CPU, seen(pod(240), pod(None))) == 4
    assert proposed(CPU, seen(pod(100), pod(None))) == 2  # 50 / 60 turns the direction.


def test_pods_without_figures_use_their_request_where_there_would_be_fewer() -> None:
    # 6 / 60 = 0.1; with the other at 100 %: (6 + 100) / 2 = 53, / 60 x 2 = 1.77.
    assert proposed(CPU, seen(pod(6), pod(None))) == 2
    # 0 with one unknown of four: 100 / 4 = 25, / 60 x 4 = 1.67.
    assert proposed(CPU, seen(pod(0), pod(0), pod(0), pod(None))) == 2
    # Above 100 % they use the target: (90 + 150) / 2 = 120 of 150, x 2 = 1.6.
    assert proposed(Cpu(150, REQUEST), seen(pod(90), pod(None))) == 2


def test_a_pod_whose_container_does_not_run_counts_as_one_that_starts() -> None:
    pending = pod(None, is_running=False, is_ready=False)
    assert proposed(CPU, seen(pod(300), pending, pending)) == 5
    assert proposed(CPU, seen(pod(10), pod(10), pending)) == 1


def test_a_pod_that_stops_is_left_out() -> None:
    assert proposed(CPU, seen(pod(120), pod(500, is_stopping=True))) == 2


def test_without_any_pod_that_counts_there_is_no_figure() -> None:
    assert proposed(CPU, seen(pod(None))) is None


def test_a_value_is_its_ratio_to_the_target_times_the_ready_pods() -> None:
    pods = [pod(60), pod(60), pod(60, is_ready=False)]
    assert proposed(Age(30), seen(*pods, oldest_seconds=75.0)) == 5  # 2.5 x 2.
    assert proposed(Age(30), seen(*pods, oldest_seconds=33.0)) == 3  # Within the tolerance: as many as there are.
    assert proposed(Age(30), seen(*pods, oldest_seconds=0.0)) == 0
    assert proposed(Age(30), seen(*pods)) is None


def test_an_average_value_is_the_total_by_the_target() -> None:
    pods = [pod(60), pod(60)]
    depth = Depth(350, 20_000)
    assert proposed(depth, seen(*pods, waiting=2000)) == 6  # 5.7.
    assert proposed(depth, seen(*pods, waiting=769)) == 2  # 769 / 700 = 1.0986: within the tolerance.
    assert proposed(depth, seen(*pods, waiting=771)) == 3
    assert proposed(depth, seen(*pods, waiting=0)) == 0
    assert proposed(depth, seen(*pods)) is None


def test_the_gauge_counts_no_more_than_it_reads() -> None:
    assert proposed(Depth(350, 20_000), seen(pod(60), waiting=1_000_000)) == 58


def test_the_metric_that_asks_for_the_most_counts() -> None:
    both = Autoscaler([CPU, Depth(350, 20_000)], **NOBODY_LIMITS)  # type: ignore[arg-type]
    assert both.replicas(seen(pod(90), waiting=1400)) == 4


def test_while_a_metric_has_no_value_the_fleet_grows_and_does_not_shrink() -> None:
    def replicas(percent: float) -> int:
        behavior = Behavior()
        scaler = Autoscaler([CPU, Age(30)], behavior=behavior, least=1, most=100)
        return scaler.replicas(seen(pod(percent), pod(percent)))

    assert replicas(90) == 3
    assert replicas(1) == 2


def test_a_fleet_outside_its_bounds_comes_back_at_once() -> None:
    scaler = Autoscaler([CPU], behavior=Behavior(), least=2, most=3)
    assert scaler.replicas(seen(pod(60))) == 2
    assert scaler.replicas(seen(*[pod(60)] * 5)) == 3


def test_a_fleet_stays_within_its_bounds() -> None:
    scaler = Autoscaler([CPU], behavior=Behavior(), least=2, most=3)
    assert scaler.replicas(seen(pod(600), pod(600))) == 3
