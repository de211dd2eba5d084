"""Faults of a worker's dispatcher: killed, standing still, without its database. And jobs that were claimed ahead."""

import signal
import time

from tests.faults.account import Account
from tests.faults.fleet import CHILDREN, WORKERS, Fleet, Member
from tests.faults.load import BEHIND, BUILD, HOLD, Sent
from tests.faults.process_tree import session_of, signal_all
from tests.faults.scene import Case, Scene
from tests.faults.team.apps import LOST_ALLOWANCE
from tests.faults.team.handlers import LET_GO
from tests.support.forwarding import Line, forwarding
from tests.support.processes import wait_until

ROUNDS = 3
MARGIN = {"HOOKLINE_LEASE_MARGIN_SECONDS": "25"}
"""So that no lease ends before a new dispatcher is there, also on a busy machine."""
START_SECONDS = 180.0
LONGER_THAN_A_LEASE_SECONDS = 20.0
"""A lease is four seconds of the handler's, two of margin, and ten for which a job may wait for its run."""
LARGE_PADDING = "x" * (24 * 2**20)
"""Two such bodies fit into a worker's budget of 64 MiB, and three do not."""
AHEAD_WORK_SECONDS = 2.0
"""A run so long that jobs wait behind it, and under the handler's limit."""


def kill_the_dispatcher(scene: Scene) -> None:
    """Kill it again and again, while its children have outcomes for it and jobs of it."""
    _expect_no_run_lost(scene)
    for _ in range(ROUNDS):
        scene.load.burst(3 * CHILDREN, BUILD, seconds=0.3)
        time.sleep(0.4)  # Until some of these are claimed.
        _replace_dispatcher(scene, scene.fleet.workers[0], signal.SIGKILL)


def stop_the_dispatcher(scene: Scene) -> None:
    """Let it stand still until its parent kills it."""
    _expect_no_run_lost(scene)
    scene.load.burst(3 * CHILDREN, BUILD, seconds=0.3)
    time.sleep(0.4)
    _replace_dispatcher(scene, scene.fleet.workers[0], signal.SIGSTOP)


def _replace_dispatcher(scene: Scene, worker: Member, number: int) -> None:
    parent = worker.pid
    before = wait_until(lambda: worker.dispatcher, what="the worker to have a dispatcher")
    signal_all([before], number)
    wait_until(lambda: worker.dispatcher not in (0, before), what="another dispatcher to be started")
    scene.require(worker.pid == parent, "the worker's main process did not survive")


def starve_the_dispatcher(scene: Scene) -> None:
    """Cut one worker's connections to its database, then refuse it new ones, then answer it nothing."""
    _expect_no_run_lost(scene)
    line = _put_behind_a_line(scene, scene.fleet.workers[0])
    for starve in (line.cut, line.hush):
        scene.load.burst(2 * CHILDREN, BUILD, seconds=0.3)
        time.sleep(0.4)
        line.cut()
        line.mend()
        time.sleep(1.0)  # Until it works again.
        starve()
        scene.hold()
        line.mend()
    scene.lift()
    children = set(scene.fleet.workers[0].children)
    scene.afterwards.append(lambda _: _has_recorded(scene, children))


def _put_behind_a_line(scene: Scene, worker: Member) -> Line:
    """Start a worker again that reaches its database through a line of the test's own."""
    line = scene.fleet.cleanup.enter_context(forwarding(scene.fleet.database_url))
    before = worker.pid
    scene.fleet.expect_end(worker)
    worker.process.terminate()
    worker.process.wait()
    worker.environment["DATABASE_URL"] = line.url
    scene.fleet.release(worker)
    wait_until(
        lambda: worker.pid != before and len(worker.children) == CHILDREN,
        what="the worker to be back",
        seconds=START_SECONDS,
    )
    return line


def _has_recorded(scene: Scene, children: set[int]) -> None:
    """The load went on after the fault: the worker must have gone on, too."""
    assert scene.lifted_at
    pids = ",".join(map(str, children))
    ((runs,),) = scene.fleet.rows(
        f"SELECT count(*) FROM webhooks_attempt WHERE pid IN ({pids}) AND started_at > '{scene.lifted_at}'"
    )
    scene.note(f"the starved worker ran {runs} jobs afterwards")
    scene.require(runs, "the starved worker took no more jobs")


def _expect_no_run_lost(scene: Scene) -> None:
    def check(account: Account) -> None:
        ended = [run for runs in account.attempts.values() for run in runs if run.outcome in ("lost", "crashed")]
        scene.require(not ended, f"{len(ended)} runs lost or crashed, such as {ended[:2]}")
        twice = [key for key, count in account.effects_per_job.items() if count > 1]
        scene.require(not twice, f"{len(twice)} jobs had their effect twice, such as {twice[:2]}")

    scene.afterwards.append(check)


# --- Claimed ahead ----------------------------------------------------------------------------------------------------


def kill_children_with_jobs_ahead(scene: Scene) -> None:
    """Kill children in mid-run, each of which has another job in its socket. Only what had begun pays."""
    worker = scene.fleet.workers[0]
    killed = 0
    for _ in range(ROUNDS):
        scene.load.burst(4 * CHILDREN, BUILD, seconds=AHEAD_WORK_SECONDS)
        wait_until(lambda: _claimed(scene.fleet, worker) > CHILDREN, what="jobs to be claimed ahead")
        at_work = wait_until(lambda: scene.fleet.at_work().keys() & set(worker.children), what="a run to kill")
        signal_all([min(at_work)], signal.SIGKILL)  # One: if all were killed at once, the worker would be to blame.
        killed += 1
    scene.note(f"{killed} children killed in mid-run, with jobs claimed ahead")
    scene.afterwards.append(lambda account: _crashed_at_most(scene, account, killed))


def _crashed_at_most(scene: Scene, account: Account, most: int) -> None:
    crashed = [run for runs in account.attempts.values() for run in runs if run.outcome == "crashed"]
    scene.require(not account.runs_lost, f"{account.runs_lost} runs lost, and the worker lives")
    scene.require(0 < len(crashed) <= most, f"{len(crashed)} runs crashed with {most} children killed")


def kill_workers_with_jobs_ahead(scene: Scene) -> None:
    """Kill a worker with all its processes, round after round, with the same jobs claimed and never begun.

    Large bodies keep them from it: those of two runs that hold their children leave no room for a third. The leases are
    ended by hand: they would take a minute a round.
    """
    worker, other = scene.fleet.workers
    _hold_with_everything(scene.fleet, other)
    held = scene.load.burst(2, HOLD, padding=LARGE_PADDING)
    wait_until(lambda: _runs_all(scene.fleet, worker, held), what="two children to be held")
    behind = scene.load.burst(2, BEHIND, padding=LARGE_PADDING)
    for _ in range(ROUNDS):
        _wait_until_claimed(scene, worker, held + behind)
        wait_until(lambda: _runs_all(scene.fleet, worker, held), what="two children to be held")
        _hold_with_everything(scene.fleet, worker)
        scene.fleet.rows("UPDATE webhooks_job SET lease_until = clock_timestamp() WHERE state = 'running' RETURNING 1")
        wait_until(lambda: _are_waiting(scene.fleet, held + behind), what="the relay to see that the leases are over")
        # So that those which hold the children are again the first, and then come those behind.
        for hours, some in ((2, held), (1, behind)):
            scene.fleet.rows(
                f"UPDATE webhooks_job SET publish_at = clock_timestamp() - interval '{hours} hours'"
                f" WHERE handler = '{some[0].kind.handlers[0]}' RETURNING 1"
            )
        scene.fleet.release(worker)
    _wait_until_claimed(scene, worker, held + behind)
    _let_go(scene.fleet)
    scene.fleet.release(other)
    scene.lift()
    scene.afterwards.append(lambda account: _never_begun_never_paid(scene, account, held, behind))


def _never_begun_never_paid(scene: Scene, account: Account, held: list[Sent], behind: list[Sent]) -> None:
    lost = {kind: [account.jobs[sent.guid][0].lost for sent in some] for kind, some in
            (("held", held), ("behind", behind))}  # fmt: skip
    scene.note(f"runs lost of those that had begun: {lost['held']}; of those that waited behind: {lost['behind']}")
    # The first loss counts whether or not it had begun: nothing tells from outside.
    scene.require(max(lost["behind"]) <= 1, f"what had not begun was lost {lost['behind']} times")
    scene.require(min(lost["held"]) == ROUNDS, f"what had begun was lost {lost['held']} times in {ROUNDS} rounds")


def hold_all_children_for_longer_than_a_lease(scene: Scene) -> None:
    """What was claimed ahead behind long runs must neither be lost nor be run by two."""
    held = scene.load.burst(WORKERS * CHILDREN, HOLD)
    wait_until(
        lambda: sum(any(sent.guid in key for sent in held) for key in scene.fleet.at_work().values()) == len(held),
        what="all children to be held",
    )
    scene.load.burst(WORKERS * CHILDREN, BUILD)
    time.sleep(LONGER_THAN_A_LEASE_SECONDS)
    _let_go(scene.fleet)
    scene.lift()
    _expect_no_run_lost(scene)


def stop_with_jobs_ahead(scene: Scene) -> None:
    """Stop a worker in mid-bundle: when it has ended, nothing is claimed any more."""
    worker = scene.fleet.workers[0]
    scene.load.burst(6 * CHILDREN, BUILD, seconds=AHEAD_WORK_SECONDS)
    wait_until(lambda: _claimed(scene.fleet, worker) > CHILDREN, what="jobs to be claimed ahead")
    scene.fleet.expect_end(worker)
    claims = worker.claims
    worker.process.terminate()
    worker.process.wait()
    left = scene.fleet.rows(f"SELECT id FROM webhooks_job WHERE {claims}")
    scene.require(not left, f"{len(left)} jobs are claimed by a worker that has stopped")
    scene.require(worker.process.returncode == 0, f"it ended with status {worker.process.returncode}")
    scene.fleet.release(worker)
    _expect_no_run_lost(scene)


def _let_go(fleet: Fleet) -> None:
    fleet.effects.with_name(fleet.effects.name + LET_GO).touch()


def _claimed(fleet: Fleet, worker: Member) -> int:
    ((count,),) = fleet.rows(f"SELECT count(*) FROM webhooks_job WHERE {worker.claims}")
    return int(count)


def _has_claimed_all(fleet: Fleet, worker: Member, some: list[Sent]) -> bool:
    return _count(fleet, some, worker.claims) == len(some)


def _wait_until_claimed(scene: Scene, worker: Member, some: list[Sent]) -> None:
    """Wait also for the worker's start: on a busy machine it takes its time."""
    wait_until(
        lambda: _has_claimed_all(scene.fleet, worker, some), what="all of them to be claimed", seconds=START_SECONDS
    )


def _are_waiting(fleet: Fleet, some: list[Sent]) -> bool:
    return _count(fleet, some, "publish_at IS NOT NULL") == len(some)


def _runs_all(fleet: Fleet, worker: Member, some: list[Sent]) -> bool:
    """Tell whether each of these is being run by a child of the worker."""
    runs = [key for pid, key in fleet.at_work().items() if pid in worker.children]
    return all(any(sent.guid in key for key in runs) for sent in some)


def _count(fleet: Fleet, some: list[Sent], condition: str) -> int:
    guids = ",".join(f"'{sent.guid}'" for sent in some)
    ((count,),) = fleet.rows(
        "SELECT count(*) FROM webhooks_job JOIN webhooks_delivery d ON d.id = delivery_id"
        f" WHERE d.guid IN ({guids}) AND {condition}"
    )
    return int(count)


def _kill_all(fleet: Fleet, worker: Member) -> None:
    """Kill a worker with its dispatcher and its children, all at once, as a lost node does."""
    session = session_of(worker.pid)
    signal_all(reversed(session), signal.SIGSTOP)  # So that nobody hears of another's end before its own.
    signal_all(session, signal.SIGKILL)
    fleet.kill(worker)


def _hold_with_everything(fleet: Fleet, worker: Member) -> None:
    fleet.expect_end(worker)
    _kill_all(fleet, worker)


CASES = (
    Case(number=27, name="dispatcher killed, 3 times", bring_about=kill_the_dispatcher, environment=MARGIN),
    Case(number=28, name="dispatcher stands still", bring_about=stop_the_dispatcher, environment=MARGIN),
    Case(number=29, name="dispatcher without its database", bring_about=starve_the_dispatcher, environment=MARGIN),
    Case(number=30, name="children killed with jobs ahead", bring_about=kill_children_with_jobs_ahead, share=0.3),
    Case(
        number=31,
        name="worker killed whole with jobs ahead, 3 times",
        bring_about=kill_workers_with_jobs_ahead,
        environment={LOST_ALLOWANCE: "1"},
        share=0.03,
    ),
    Case(number=32, name="worker stopped with jobs ahead", bring_about=stop_with_jobs_ahead, environment=MARGIN),
    Case(
        number=36,
        name="all children held for longer than a lease",
        bring_about=hold_all_children_for_longer_than_a_lease,
        share=0.2,
    ),
)
