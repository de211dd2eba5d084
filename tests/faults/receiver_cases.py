"""Faults of the receiver and of those who send to it."""

from tests.faults.account import Account
from tests.faults.load import BUILD
from tests.faults.process_tree import peak_memory_mb, session_of
from tests.faults.scene import Case, Scene
from tests.faults.team.apps import DIE_AT_OFFER
from tests.support.processes import wait_until

AT_ONCE = 200
LARGEST_MB = 25
LARGEST_AT_ONCE = 4
CEILING_MB = 700
CEILING_AT_ONCE_MB = 1_200
DIES_AT = 60
"""At which commit the receiver dies: the load has begun by then."""


def kill_between_commit_and_publish(scene: Scene) -> None:
    """The fault point does it; wait until the receiver is gone and the new one is ready."""
    receiver = scene.fleet.receiver
    first = receiver.sessions[0]
    wait_until(lambda: receiver.pid != first, what="the receiver to die and be started again")
    scene.fleet.wait_until_ready()
    scene.afterwards.append(lambda account: _window_was_hit(scene, account))


def _window_was_hit(scene: Scene, account: Account) -> None:
    """The delivery in the window was committed, not published and not acknowledged; its jobs ran all the same."""
    stored_only = [sent for sent in account.sent if not sent.status and sent.guid in account.jobs]
    scene.note(f"{len(stored_only)} stored without an answer")
    scene.require(stored_only, "no delivery was stored without an answer: the window was not hit")
    states = {job.state for sent in stored_only for job in account.jobs[sent.guid]}
    scene.require(states <= {"succeeded"}, f"jobs of deliveries stored without an answer are {sorted(states)}")
    scene.require("receiver" not in scene.fleet.restarts or scene.fleet.restarts["receiver"] == 1, "died again")


def send_one_delivery_many_times(scene: Scene) -> None:
    sendings = scene.load.repeat(AT_ONCE, BUILD)
    scene.lift()
    scene.afterwards.append(lambda account: _stored_and_run_once(scene, account, sendings[0].guid))


def _stored_and_run_once(scene: Scene, account: Account, guid: str) -> None:
    answers = sorted(sent.status for sent in account.sent if sent.guid == guid)
    scene.require(answers == [200] * (AT_ONCE - 1) + [202], f"the {AT_ONCE} were answered {answers}")
    rows = scene.fleet.rows(f"SELECT repeats FROM webhooks_delivery WHERE guid = '{guid}'")
    scene.require(rows == [(AT_ONCE - 1,)], f"stored with repeats {rows}")
    ran = [(job.attempt, job.state) for job in account.jobs.get(guid, [])]
    scene.require(ran == [(1, "succeeded")], f"its jobs ran {ran}")


def send_large_deliveries(scene: Scene) -> None:
    """One as large as GitHub sends, then a hundred of a megabyte at once, then the largest ones at once.

    A peak is of all processes of the receiver, and only rises, so the smaller load comes first.
    """
    pids = session_of(scene.fleet.receiver.pid)
    before = peak_memory_mb(pids)
    largest = "x" * (LARGEST_MB * 2**20 - 1_000)
    one = scene.load.send_together(1, BUILD, padding=largest)
    after_one = peak_memory_mb(pids)
    scene.load.send_together(100, BUILD, padding="x" * 10**6)
    after_hundred = peak_memory_mb(pids)
    many = scene.load.send_together(LARGEST_AT_ONCE, BUILD, padding=largest)
    peak = peak_memory_mb(pids)
    scene.lift()
    scene.note(
        f"receiver's peak: {before:.0f} MB before, {after_one:.0f} MB after {LARGEST_MB} MB in"
        f" {one[0].milliseconds:,.0f} ms, {after_hundred:.0f} MB after 100 of 1 MB, {peak:.0f} MB after"
        f" {LARGEST_AT_ONCE} of {LARGEST_MB} MB at once in {max(sent.milliseconds for sent in many):,.0f} ms"
    )
    for held, ceiling in ((after_hundred, CEILING_MB), (peak, CEILING_AT_ONCE_MB)):
        scene.require(held <= ceiling, f"the receiver held {held:.0f} MB; {ceiling} are allowed")


CASES = (
    Case(
        number=9,
        name="receiver dies between commit and publish",
        bring_about=kill_between_commit_and_publish,
        environments={"receiver0": {DIE_AT_OFFER: str(DIES_AT)}},
        may_not_answer=True,
    ),
    Case(number=18, name="one delivery sent 200 times at once", bring_about=send_one_delivery_many_times),
    Case(number=20, name="25 MB, 100 of 1 MB at once, 4 of 25 MB", bring_about=send_large_deliveries, share=0.5),
)
