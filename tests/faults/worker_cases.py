"""Faults of workers: processes killed, and a clock that is wrong."""

import signal
import time
from pathlib import Path

from tests.faults.account import Account
from tests.faults.fleet import CHILDREN
from tests.faults.process_tree import signal_all
from tests.faults.scene import Case, NotRunError, Scene
from tests.support.processes import ROOT, wait_until

ROUNDS = 5
"""The load's max_attempts: were a killed child the job's own fault, so many rounds would make it dead."""
ORPHAN_SECONDS = 15.0


def kill_a_worker(scene: Scene) -> None:
    scene.fleet.kill(scene.fleet.workers[0])
    scene.afterwards.append(lambda _: _none_left_behind(scene))


def _none_left_behind(scene: Scene) -> None:
    """A worker's children must not outlive it: their node name and their connections would."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (left := scene.fleet.left_behind()) and time.monotonic() < deadline:
        time.sleep(0.2)
    scene.require(not left, f"{len(left)} processes of the killed worker run on after {ORPHAN_SECONDS:g} s")


def kill_a_child(scene: Scene) -> None:
    worker = scene.fleet.workers[0]
    signal_all([scene.draw.choice(worker.children)], signal.SIGKILL)
    scene.afterwards.append(lambda account: _lost_at_most(scene, account, 1))


def kill_all_children_again_and_again(scene: Scene) -> None:
    """Kill each whole set of children once it is at work."""
    worker = scene.fleet.workers[0]
    killed: set[int] = set()
    for _ in range(ROUNDS):
        fresh = wait_until(lambda: _new_children(worker.children, killed), what="the worker to have new children")
        time.sleep(1.0)  # Until they run something.
        killed.update(fresh)
        signal_all(fresh, signal.SIGKILL)
    pid = worker.pid
    scene.note(f"{len(killed)} children killed in {ROUNDS} rounds")
    scene.afterwards.append(lambda _: scene.require(worker.pid == pid, "the worker's main process did not survive"))


def _new_children(children: list[int], killed: set[int]) -> list[int] | None:
    return children if len(children) >= CHILDREN and not killed & set(children) else None


def _lost_at_most(scene: Scene, account: Account, most: int) -> None:
    scene.require(account.runs_lost <= most, f"{account.runs_lost} runs lost with {most} process killed")


def library_of_faketime() -> Path | None:
    places = [Path("/usr/lib"), Path("/usr/local/lib")]
    found = (path for place in places for path in place.glob("**/faketime/libfaketime.so.1"))
    return next(found, None)


def run_with_a_wrong_clock(scene: Scene) -> None:
    """The second worker's clock is an hour ahead from its start; its monotonic one is right."""
    library = library_of_faketime()
    if library is None:
        raise NotRunError("install faketime")
    worker = scene.fleet.workers[1]
    worker.environment.update(
        LD_PRELOAD=str(library),
        FAKETIME="+1h",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        PYTHONPATH=str(ROOT / "tests" / "faults" / "wrong_clock"),
    )
    scene.fleet.kill(worker)
    before = worker.pid
    wait_until(lambda: worker.pid != before, what="the worker to be started again")
    wait_until(lambda: len(worker.children) > 1, what="it to have children")
    scene.hold()
    signal_all([scene.draw.choice(worker.children)], signal.SIGKILL)
    scene.afterwards.append(lambda _: _has_run_jobs(scene, worker.children))


def _has_run_jobs(scene: Scene, children: list[int]) -> None:
    pids = ",".join(map(str, children or [0]))
    ((runs,),) = scene.fleet.rows(f"SELECT count(*) FROM webhooks_attempt WHERE pid IN ({pids})")
    scene.note(f"the worker an hour ahead ran {runs} attempts")
    scene.require(runs, "the worker an hour ahead ran nothing")


CASES = (
    Case(number=1, name="worker's main process killed", bring_about=kill_a_worker),
    Case(number=2, name="one child killed", bring_about=kill_a_child),
    Case(number=19, name="one worker's clock an hour ahead", bring_about=run_with_a_wrong_clock),
    Case(
        number=24,
        name="all children of a worker killed, 5 times",
        bring_about=kill_all_children_again_and_again,
    ),
)
