"""The planner's autoscaler answers as Kubernetes' own controller did: tests/capacity/kubernetes records it."""

import json
from typing import Any

from tests.capacity.kubernetes.__main__ import HERE
from workers.capacity.autoscaler import Age, Cpu, Depth, Metric, PodSeen, Seen, Tolerances, Usage
from workers.capacity.behavior import Changes
from workers.capacity.given import behavior_of

CASES: list[dict[str, Any]] = json.loads((HERE / "cases.json").read_text())
NOW = 100_000.0


def pod(values: list[Any]) -> PodSeen:
    started, changed, runs, is_ready, stops, usage, age, window = values
    return PodSeen(
        started_at=NOW - started,
        changed_at=NOW - changed,
        is_running=runs,
        is_ready=is_ready,
        is_stopping=stops,
        usage=None if usage is None else Usage(usage / 1000, NOW - age, window),
    )


def metric(case: dict[str, Any]) -> Metric:
    if case["Kind"] == "cpu":
        return Cpu(case["Target"], case["Request"] / 1000)
    return Age(case["Target"] / 1000) if case["Kind"] == "age" else Depth(case["Target"] / 1000, 10**9)


def proposed(case: dict[str, Any]) -> int | None:
    seen = Seen(
        at=NOW,
        wanted=case["Current"],
        replicas=case["Replicas"],
        pods=[pod(values) for values in case["Pods"]],
        oldest_seconds=case["Value"] / 1000,
        waiting=case["Value"] / 1000,
    )
    return metric(case).proposed(seen, Tolerances())


def test_each_metric_asks_for_as_many_replicas() -> None:
    cases = [case for case in CASES if "Kind" in case]
    assert len(cases) >= 500
    assert len({case["Answer"] for case in cases}) > 10
    assert [case for case in cases if proposed(case) != case["Answer"]] == []


def sizes(case: dict[str, Any]) -> list[int]:
    changes = Changes(behavior_of(case["Behavior"]), case["Least"], case["Most"])
    found, current = [], case["Start"]
    for at, wanted, _ in case["Steps"]:
        current = changes.allowed(wanted, current=current, at=float(at))
        found.append(current)
    return found


def test_each_behavior_allows_the_same_changes() -> None:
    cases = [case for case in CASES if "Steps" in case]
    assert len(cases) >= 100
    assert [case for case in cases if sizes(case) != [answer for _, _, answer in case["Steps"]]] == []
