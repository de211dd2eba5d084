"""Faults of handlers: their process ended, its memory taken, their limits ignored."""

import time
from collections.abc import Callable

from tests.faults.account import Account
from tests.faults.load import BUILD, DEAF, EXIT, HANG, HOARD, MEMORY_ERROR, SWALLOW, Kind, with_poison
from tests.faults.scene import Case, Scene
from tests.support.processes import wait_until

MOST_RUNS = 3
"""The largest max_attempts of a poisonous handler: no more of its runs than that count, whatever it does."""
INNOCENTS = 300
IN_EVERY = 20
"""One of so many is poison: 5 %."""
RECORDED_SECONDS = 10.0
KEPT_SHARE = 0.5
"""The share of its throughput that the fleet must keep under poison, on a machine that others use too."""


def go_on_for_a_while(scene: Scene) -> None:
    """The fault is in the load itself."""
    pids = [worker.pid for worker in scene.fleet.workers]
    time.sleep(scene.pace.load_seconds)
    scene.afterwards.append(lambda account: _is_contained(scene, account, pids))


def _is_contained(scene: Scene, account: Account, pids: list[int]) -> None:
    """Poison ends dead after few runs with the reason on view, and takes no worker with it."""
    scene.require([worker.pid for worker in scene.fleet.workers] == pids, "a worker's main process did not survive")
    guids = {sent.guid for sent in account.sent if sent.kind.is_poison}
    poisonous = [job for guid in guids for job in account.jobs.get(guid, [])]
    scene.require(poisonous, "the load held no poison")
    for job in poisonous:
        runs = [run for run in account.attempts[job.id] if run.outcome != "lost"]
        told = "; ".join(f"{run.outcome}: {run.message}" for run in runs)
        scene.require(len(runs) <= MOST_RUNS, f"a poisonous job ran {len(runs)} times ({told})")
    scene.require(all(job.error for job in poisonous), "a poisonous job is dead without a reason")
    innocents = account.innocents_recovered_seconds
    reason = poisonous[0].error if poisonous else ""
    scene.note(f"{len(poisonous)} poisonous; the others were final {innocents:.1f} s after the lift; reason: {reason}")


def compare_with_a_control_run(scene: Scene) -> None:
    """Give the fleet the same work twice at once, the second time with poison in it."""
    pids = [worker.pid for worker in scene.fleet.workers]
    control = _jobs_a_second(scene, poisonous=False)
    poisoned = _jobs_a_second(scene, poisonous=True)
    scene.note(f"{control:.1f} innocent jobs/s without poison, {poisoned:.1f} with {100 / IN_EVERY:.0f} % of it")
    scene.require(poisoned >= KEPT_SHARE * control, f"throughput fell from {control:.1f} to {poisoned:.1f} jobs/s")
    scene.afterwards.append(lambda account: _is_contained(scene, account, pids))


def _jobs_a_second(scene: Scene, *, poisonous: bool) -> float:
    began = time.monotonic()
    guids: list[str] = []
    for _ in range(INNOCENTS // IN_EVERY):
        guids += [sent.guid for sent in scene.load.burst(IN_EVERY - poisonous, BUILD, seconds=0.05)]
        if poisonous:
            scene.load.burst(1, EXIT)
    wait_until(lambda: _are_done(scene, guids), seconds=120, what="the innocents to be done")
    return len(guids) / (time.monotonic() - began)


def _are_done(scene: Scene, guids: list[str]) -> bool:
    listed = ",".join(f"'{guid}'" for guid in guids)
    ((done,),) = scene.fleet.rows(
        "SELECT count(*) FROM webhooks_job j JOIN webhooks_delivery d ON d.id = j.delivery_id"
        f" WHERE d.guid IN ({listed}) AND j.finished_at IS NOT NULL"
    )
    return bool(done == len(guids))


def overrun_while_the_broker_is_silent(scene: Scene) -> None:
    """The limits of what runs are kept, and its end is recorded, while the broker answers nobody."""
    _overrun_without(scene, scene.broker.freeze, scene.broker.thaw)


def overrun_while_the_broker_is_gone(scene: Scene) -> None:
    """The same while nobody listens, and the parents try to connect."""
    _overrun_without(scene, scene.broker.stop, scene.broker.start)


def _overrun_without(scene: Scene, take: Callable[[], None], give_back: Callable[[], None]) -> None:
    overrunning = [sent for kind in (HANG, DEAF) for sent in scene.load.burst(2, kind)]
    guids = ",".join(f"'{sent.guid}'" for sent in overrunning)
    wait_until(
        lambda: all(any(sent.guid in key for key in scene.fleet.marks()) for sent in overrunning), what="them to run"
    )
    take()
    began = time.monotonic()
    try:
        wait_until(lambda: _hard_limits(scene, guids) == len(overrunning), what="their ends to be recorded", seconds=25)
        seconds = time.monotonic() - began
        scene.note(f"{len(overrunning)} runs were ended by their hard limit, and recorded {seconds:.1f} s after")
        # The limit, the second until the kill, and another in which other processes may be found to have ended, too.
        scene.require(seconds <= RECORDED_SECONDS, f"recorded only after {seconds:.1f} s")
    finally:
        give_back()


def _hard_limits(scene: Scene, guids: str) -> int:
    ((count,),) = scene.fleet.rows(
        "SELECT count(*) FROM webhooks_attempt a JOIN webhooks_job j ON j.id = a.job_id"
        " JOIN webhooks_delivery d ON d.id = j.delivery_id"
        f" WHERE d.guid IN ({guids}) AND a.number = 1 AND a.outcome = 'hard_limit'"
    )
    return int(count)


def case_of(number: int, name: str, kind: Kind, *, percent: float, **environment: str) -> Case:
    return Case(
        number=number,
        name=name,
        bring_about=go_on_for_a_while,
        mix=with_poison(kind, percent=percent),
        # As in production: with the suite's own, a lease could be over before a busy machine has recorded.
        environment={"HOOKLINE_LEASE_MARGIN_SECONDS": "15", **environment},
    )


CASES = (
    case_of(3, "handler calls os._exit", EXIT, percent=5),
    case_of(4, "handler raises MemoryError", MEMORY_ERROR, percent=5),
    case_of(
        5,
        "handler takes more memory than it may",
        HOARD,
        percent=5,
        HOOKLINE_CHILD_MAX_MB="400",
        HOOKLINE_CHILD_RECYCLE_MB="300",
    ),
    case_of(6, "handler swallows both limits", HANG, percent=2),
    case_of(6, "handler hangs in C, deaf to signals", DEAF, percent=2),
    case_of(7, "handler swallows the soft limit", SWALLOW, percent=3),
    Case(
        number=23,
        name="poison stream against a control",
        bring_about=compare_with_a_control_run,
        share=0.1,
        environment={"HOOKLINE_LEASE_MARGIN_SECONDS": "15"},
    ),
    Case(
        number=35,
        name="hard limit while the broker is silent",
        bring_about=overrun_while_the_broker_is_silent,
        environment={"HOOKLINE_LEASE_MARGIN_SECONDS": "15"},
    ),
    Case(
        number=35,
        name="hard limit while the broker is gone",
        bring_about=overrun_while_the_broker_is_gone,
        environment={"HOOKLINE_LEASE_MARGIN_SECONDS": "15"},
    ),
)
