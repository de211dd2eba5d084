"""What the receiver, the relay, the reconciler and Flower hold in memory: idle, and at their work.

    python -m tests.benchmarks.role_memory
    python -m tests.benchmarks.role_memory --jobs 20000 --bodies 8

Starts a PostgreSQL and a RabbitMQ of its own and one process of each role. The receiver is sent `--bodies` payloads of
25 MB at once, GitHub's most; the relay has `--jobs` due jobs to put on the broker; Flower watches them run; the
reconciler then takes in `--missed` deliveries of GitHub's log, and as many of 25 MB as bodies were sent. Read ten times
a second: the proportional set size of each role's processes, as worker_memory reads it. A MB is 2²⁰ bytes.
"""

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.load import body_of
from tests.benchmarks.process_use import pss
from tests.benchmarks.systems import fill, installation, servers, start_worker
from tests.faults.process_tree import descendants_of
from tests.support.github.log import Hook
from tests.support.github.server import GitHub, serving
from tests.support.processes import free_port, wait_until
from tests.support.stack import Stack

ROLES = ("receiver", "relay", "flower", "reconcile")
LARGEST_BODY = 25 * 1024 * 1024 - 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--bodies", type=int, default=8)
    parser.add_argument("--missed", type=int, default=2_000)
    options = parser.parse_args()
    with servers() as (database, broker), installation(database, broker) as stack, serving(GitHub()) as github:
        hook = github.hook()
        start_worker(stack, 8)
        roots = {role: start(stack, role, github) for role in ROLES}
        stack.wait_until_ready()
        time.sleep(5)
        idle = {role: held_by(root) for role, root in roots.items()}
        with Highest(roots) as of_bodies:
            stored = send_together(stack, options.bodies)
        fill(stack, body_of(), jobs=options.jobs)
        with Highest(roots) as of_jobs:
            wait_until(stack.is_drained, seconds=3600, what="all jobs to be run")
            time.sleep(5)
        with Highest(roots) as of_missed:
            missing(hook, options.missed, options.bodies)
            wait_until(
                lambda: recovered(stack) == options.missed + options.bodies, seconds=3600, what="all to be taken in"
            )
    header = f"{'role':<10}{'idle':>8}{f'{options.bodies} bodies of 25 MB':>22}{f'{options.jobs:,} jobs':>16}"
    print(f"{header}{f'{options.missed:,} missed':>16}")
    print(f"{stored} of {options.bodies} bodies were stored, the others refused with 503")
    for role in ROLES:
        print(
            f"{role:<10}{idle[role]:>8.0f}{of_bodies.seen[role]:>22.0f}{of_jobs.seen[role]:>16.0f}{of_missed.seen[role]:>16.0f}"
        )


def start(stack: Stack, role: str, github: GitHub) -> int:
    ports = {"HOOKLINE_PROBE_PORT": str(free_port()), "HOOKLINE_FLOWER_PORT": str(free_port())}
    if role == "reconcile":
        more = {"HOOKLINE_RECONCILE_SECONDS": "10", **github.variables()}
        return stack.start(role, "--watch", **ports, **more).pid
    return stack.start(role, **ports).pid


def missing(hook: Hook, few: int, bodies: int) -> None:
    """Put deliveries into GitHub's log that never came: many small ones, and a few of the largest."""
    payload = {"action": "work", "client_payload": {}, "repository": {"full_name": "acme/widgets"}}
    for _ in range(few):
        hook.add("repository_dispatch", payload)
    for _ in range(bodies):
        hook.add("repository_dispatch", payload | {"filling": "x" * LARGEST_BODY})


def recovered(stack: Stack) -> int:
    return int(stack.rows("SELECT count(*) FROM webhooks_recovery")[0][0])


def send_together(stack: Stack, bodies: int) -> int:
    """Send so many of the largest payloads that GitHub sends at once; return how many a slow disk let be stored."""
    filling = "x" * LARGEST_BODY
    with ThreadPoolExecutor(bodies) as threads:
        answers = list(threads.map(lambda _: stack.send("nobody's", filling=filling)[0], range(bodies)))
    assert set(answers) <= {202, 503}, answers
    return answers.count(202)


def held_by(root: int) -> float:
    """Return what a process and all below it hold, in MB."""
    return sum(pss(pid)[0] for pid in [root, *descendants_of(root)])


class Highest:
    """The most that each role was seen to hold while the block ran."""

    def __init__(self, roots: dict[str, int]) -> None:
        self._roots = roots
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seen = dict.fromkeys(roots, 0.0)

    def __enter__(self) -> "Highest":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for role, root in self._roots.items():
                self.seen[role] = max(self.seen[role], held_by(root))


if __name__ == "__main__":
    main()
