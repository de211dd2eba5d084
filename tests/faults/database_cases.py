"""Faults of PostgreSQL: restarted, stopped, silent, demoted; and a row that it refuses among others."""

import time

import psycopg

from tests.faults.account import Account
from tests.faults.load import BUILD, UNSTORABLE_DELIVERY, UNSTORABLE_OUTCOME
from tests.faults.scene import Case, Scene
from tests.faults.team.handlers import UNSTORABLE

ANSWER_MS = 3_000
"""docs/promises.md, promise 6: a 503 comes within three seconds."""
GROUPS = 10
GROUP = 30
"""Deliveries that come together; so many are committed in a few groups."""
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


def refuse_a_delivery_among_others(scene: Scene) -> None:
    """Have the database refuse some deliveries of what is committed together."""
    _refuse(scene, table="webhooks_delivery", column="action", value=UNSTORABLE_DELIVERY.action)
    bad = []
    for _ in range(GROUPS):
        scene.load.burst(GROUP // 2, BUILD)
        bad += scene.load.burst(1, UNSTORABLE_DELIVERY)
        scene.load.burst(GROUP // 2, BUILD)
        time.sleep(0.2)
    scene.lift()
    scene.afterwards.append(lambda account: _only_these_refused(scene, account, {sent.guid for sent in bad}))


def _only_these_refused(scene: Scene, account: Account, bad: set[str]) -> None:
    refused = {sent.guid for sent in account.sent if not sent.is_acknowledged}
    scene.require(refused == bad, f"{len(refused - bad)} others refused, and {len(bad - refused)} bad ones stored")


def refuse_an_outcome_among_others(scene: Scene) -> None:
    """Have the database refuse some outcomes of what is recorded together."""
    _refuse(scene, table="webhooks_attempt", column="message", value=UNSTORABLE)
    for _ in range(GROUPS):
        scene.load.burst(GROUP // 2, BUILD)
        scene.load.burst(1, UNSTORABLE_OUTCOME)
        scene.load.burst(GROUP // 2, BUILD)
        time.sleep(0.2)
    scene.lift()
    scene.afterwards.append(lambda account: _only_these_failed(scene, account))


def _only_these_failed(scene: Scene, account: Account) -> None:
    jobs = [job for job in account.all_jobs if job.handler == UNSTORABLE_OUTCOME.handlers[0]]
    ends = {(job.state, tuple(run.outcome for run in account.attempts.get(job.id, ()))) for job in jobs}
    scene.require(len(jobs) == GROUPS and ends == {("dead", ("failed", "failed"))}, f"the refused ended {ends}")
    scene.note(f"reason on view: {jobs[0].error if jobs else ''}")


def _refuse(scene: Scene, *, table: str, column: str, value: str) -> None:
    """Have a trigger refuse each row with this value."""
    with psycopg.connect(scene.fleet.database_url) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = 'check_violation'; END $$;"
            f" CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.{column} = '{value}')"
            " EXECUTE FUNCTION refuse()".encode()
        )


CASES = (
    Case(number=14, name="PostgreSQL restarted", bring_about=restart_postgres, may_refuse=True),
    Case(number=15, name="PostgreSQL stopped", bring_about=stop_postgres, may_refuse=True),
    Case(number=16, name="PostgreSQL up but silent", bring_about=freeze_postgres, may_refuse=True),
    Case(number=26, name="PostgreSQL demoted and promoted", bring_about=demote_postgres, may_refuse=True),
    Case(
        number=33,
        name="a delivery refused by the database",
        bring_about=refuse_a_delivery_among_others,
        may_refuse=True,
        share=0.3,
    ),
    Case(
        number=34,
        name="an outcome refused by the database",
        bring_about=refuse_an_outcome_among_others,
        share=0.3,
    ),
)
