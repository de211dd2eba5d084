"""Faults of the embedded default, SQLite and a folder: its worker killed, its disk full."""

import contextlib
import ctypes
import os
import subprocess
from pathlib import Path

from tests.faults.account import Account
from tests.faults.fleet import Fleet
from tests.faults.load import BUILD
from tests.faults.scene import Case, NotRunError, Scene
from tests.faults.worker_cases import kill_a_worker
from tests.support.processes import wait_until

DISK = "size=24m"
CHUNK = b"\0" * 65_536
_CLONE_NEWNS = 0x00020000


def put_the_data_on_a_small_disk(fleet: Fleet) -> None:
    """Mount a small tmpfs where only this process and those it starts can see it."""
    if os.geteuid() != 0:
        raise NotRunError("needs root, to mount a small disk")
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise NotRunError(f"no private mounts here: {os.strerror(ctypes.get_errno())}")
    try:
        for command in (
            ["mount", "--make-rprivate", "/"],
            ["mount", "-t", "tmpfs", "-o", f"{DISK},mode=0700", "tmpfs", str(fleet.directory)],
        ):
            subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotRunError(f"cannot mount a small disk: {error}") from error
    fleet.cleanup.callback(subprocess.run, ["umount", "--lazy", str(fleet.directory)], check=False)


def fill_the_disk(scene: Scene) -> None:
    """Take all the space, send until a delivery is refused for want of it, and give the space back."""
    filler = scene.fleet.directory / "filler"
    fill(filler)
    scene.load.burst(6, BUILD, padding="x" * 400_000)
    wait_until(lambda: any(sent.status == 503 for sent in scene.load.sent), what="a delivery to be refused")
    scene.hold()
    filler.unlink()
    scene.lift()
    scene.afterwards.append(lambda account: _is_sound(scene, account))


def fill(filler: Path) -> None:
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as output:
        while output.write(CHUNK):
            pass


def _is_sound(scene: Scene, account: Account) -> None:
    checked = scene.fleet.rows("PRAGMA integrity_check")
    scene.require(checked == [("ok",)], f"PRAGMA integrity_check: {checked}")
    scene.note(f"integrity_check: {checked[0][0]}; {account.statuses[503]} answered 503")
    assert scene.lifted_at
    stored_after = [job for job in account.all_jobs if job.received_at > scene.lifted_at]
    scene.require(stored_after, "nothing was stored once there was space again")


CASES = (
    Case(
        number=17,
        name="disk full under SQLite",
        bring_about=fill_the_disk,
        brokers=("filesystem",),
        may_refuse=True,
        share=0.5,
        prepare=put_the_data_on_a_small_disk,
    ),
    Case(
        number=21,
        name="embedded default's worker killed",
        bring_about=kill_a_worker,
        brokers=("filesystem",),
        share=0.5,
    ),
)
