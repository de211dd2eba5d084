"""Faults of PostgreSQL: restarted, stopped, silent."""

from tests.faults.account import Account
from tests.faults.scene import Case, Scene

ANSWER_MS = 3_000
"""README.md, promise 6: a 503 comes within three seconds."""


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
)
