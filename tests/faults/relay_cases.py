"""Faults of the relay: one killed, then none left for a while."""

from tests.faults.scene import Case, Scene
from tests.support.processes import wait_until


def kill_one_then_both(scene: Scene) -> None:
    """Kill one, which is started again; then have none at all, while the load goes on."""
    first, second = scene.fleet.of("relay")
    before = first.pid
    scene.fleet.kill(first)
    wait_until(lambda: first.pid != before, what="the relay to be started again")
    for relay in (first, second):
        scene.fleet.hold(relay)
    scene.hold()
    for relay in (first, second):
        scene.fleet.release(relay)


CASES = (Case(number=8, name="a relay killed, then both gone", bring_about=kill_one_then_both),)
