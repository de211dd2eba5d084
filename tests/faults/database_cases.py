"""Faults of PostgreSQL: restarted, stopped, silent, demoted."""

from tests.faults.account import Account
from tests.faults.scene import Case, Scene

ANSWER_MS = 3_000
"""docs/promises.md, promise 6: a 503 comes within three seconds."""
BACK_SECONDS = 2.0
"""Within one of the promotion every thread asks again; its answer may take the other on a busy machine."""


def restart_postgres(scene: Scene) -> None:
    _expect_quick_refusals(scene)
    scene.postgres.stop()
    scene.postgres.start()


def stop_postgres(scene: Scene) -> None:
    _expect_quick_refusals(scene)
    scene.postgres.stop()
    scene.hold()
    scene.postgres.start()


def freeze_postgres(scene: Scene) -> None:
    """Up, its connections open, and silent: what no socket option notices."""
    _expect_quick_refusals(scene)
    scene.postgres.freeze()
    scene.hold()
    scene.postgres.thaw()


def demote_postgres(scene: Scene) -> None:
    """Up and answering, and read-only: a primary after a failover, at an address that has not been moved yet.

    It is promoted without cutting the connections, so that whatever was opened meanwhile goes on refusing.
    """
    _expect_quick_refusals(scene)
    scene.postgres.demote(scene.fleet.database_url)
    scene.hold()
    scene.postgres.promote(scene.fleet.database_url)
    scene.lift()
    scene.afterwards.append(lambda account: _all_back(scene, account))


def _all_back(scene: Scene, account: Account) -> None:
    assert scene.lifted_at
    lifted_at = scene.lifted_at.timestamp()
    refused = [sent.sent_at - lifted_at for sent in account.sent if sent.status >= 500]
    scene.note(f"{len(refused)} refused; the last was sent {max(refused, default=0.0):+.1f} s from the promotion")
    late = [seconds for seconds in refused if seconds > BACK_SECONDS]
    scene.require(refused, "nothing was refused: the fault was none")
    scene.require(not late, f"{len(late)} refused later than {BACK_SECONDS:g} s after the promotion")


def _expect_quick_refusals(scene: Scene) -> None:
    def check(account: Account) -> None:
        longest = account.longest_refusal_ms
        scene.note(f"the longest 503 took {longest:,.0f} ms")
        scene.require(longest <= ANSWER_MS, f"a 503 took {longest:,.0f} ms; {ANSWER_MS:,} are allowed")

    scene.afterwards.append(check)


CASES = (
    Case(number=14, name="PostgreSQL restarted", bring_about=restart_postgres, may_refuse=True),
    Case(number=15, name="PostgreSQL stopped", bring_about=stop_postgres, may_refuse=True),
    Case(number=16, name="PostgreSQL up but silent", bring_about=freeze_postgres, may_refuse=True),
    Case(number=26, name="PostgreSQL demoted and promoted", bring_about=demote_postgres, may_refuse=True),
)
