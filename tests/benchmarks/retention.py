"""What pruning costs at ten million deliveries, and what those beside it feel of it.

    python -m tests.benchmarks.retention --deliveries 10000000
    python -m tests.benchmarks.retention --deliveries 200000 --body-bytes 20000
    python -m tests.benchmarks.retention --deliveries 1000000 --database sqlite

Fills a fresh database with deliveries of one job and one attempt each, received evenly over so long a time that `--old`
of them are past their days; of the jobs `--dead` are dead. Then it prunes as `manage.py prune` does, without a pause,
while a session beside it stores deliveries, claims and records their jobs, and redelivers what is just being pruned.

It prints how long the batches took, and their median in each tenth of the pass, since rows that are deleted and not yet
vacuumed could slow the later ones; the plans of a batch in the middle; the longest wait for a lock that a look at
PostgreSQL each 20 ms has seen; and what a second pass costs that has nothing to do, before and after a VACUUM.

Bodies are stored uncompressed, which is the worst case for those of more than 2 kB.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.context import SpawnContext
from typing import Any

import django
from django.core.management import call_command
from django.db import connection

from tests.benchmarks.stored import TABLES, is_redirected, rows, store
from tests.support.stack import fresh_postgres
from webhooks.github.sender import percentile

DAYS_KEPT = 30
QUIET_SECONDS = 10.0
EVERY_QUEUED = 10_000
"""One in so many deliveries has a job that still waits, and may not go."""
WAITS = "SELECT extract(epoch FROM max(clock_timestamp() - waitstart)) FROM pg_locks WHERE NOT granted"


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as cleanup:
        is_postgres = options.database == "postgres"
        url = cleanup.enter_context(fresh_postgres()) if is_postgres else f"sqlite:///{directory}/inbox.sqlite3"
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DATABASE_URL": url,
            "HOOKLINE_DATA_DIR": directory,
            "HOOKLINE_LOG_LEVEL": "WARNING",
        }
        django.setup()
        call_command("migrate", verbosity=0)
        began = time.monotonic()
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE webhooks_payload ALTER COLUMN body SET STORAGE EXTERNAL")
        store(
            options.deliveries,
            days=options.span,
            body_bytes=options.body_bytes,
            every_dead=round(1 / options.dead),
            every_queued=EVERY_QUEUED,
        )
        print(f"{options.deliveries:,} deliveries, filled in {time.monotonic() - began:.0f} s; {surroundings()}")
        measure(options)
        connection.close()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--old", type=float, default=0.9, help="share past its days (default 0.9)")
    parser.add_argument("--dead", type=float, default=0.01, help="share with a dead job (default 0.01)")
    parser.add_argument("--body-bytes", type=int, default=200, help="default 200")
    parser.add_argument("--stop-after", type=float, metavar="SECONDS", help="of deliveries, then of payloads")
    parser.add_argument("--batch", type=int, help="deliveries a batch; the relay's by default")
    options = parser.parse_args()
    options.span = DAYS_KEPT / (1 - options.old)
    return options


def surroundings() -> str:
    if connection.vendor == "sqlite":
        ((version, size),) = rows(
            "SELECT sqlite_version(), page_count * page_size FROM pragma_page_count, pragma_page_size"
        )
        return f"SQLite {version}, {size / 1e9:.1f} GB"
    ((version, size, autovacuum, buffers),) = rows(
        "SELECT current_setting('server_version'), pg_database_size(current_database()),"
        " current_setting('autovacuum'), current_setting('shared_buffers')"
    )
    return f"PostgreSQL {version}, {size / 1e9:.1f} GB, autovacuum {autovacuum}, shared_buffers {buffers}"


@dataclass(slots=True)
class Passed:
    """One pass: how much went, how long each batch of each kind took in seconds, and the plans of one of them."""

    removed: dict[str, int] = field(default_factory=dict)
    batches: dict[str, list[float]] = field(default_factory=dict)
    plans: dict[str, list[str]] = field(default_factory=dict)


def measure(options: argparse.Namespace) -> None:
    with Beside() as beside:
        time.sleep(QUIET_SECONDS)
        beside.is_pruning.value = True
        first = one_pass(options, explains=True, tell=beside.tell, seconds_each=options.stop_after)
    report("First pass", first)
    beside.report()
    again = 10.0 if options.stop_after else None
    report("Second pass, not vacuumed since the first", one_pass(options, seconds_each=again))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM {TABLES}")
        report("Third pass, vacuumed", one_pass(options, seconds_each=again))
    for kind, plans in first.plans.items():
        print(f"\nThe queries of a batch of {kind} in the first pass:\n")
        print("\n\n".join(plans))


def one_pass(
    options: argparse.Namespace,
    *,
    explains: bool = False,
    tell: Callable[[int], None] = lambda _id: None,
    seconds_each: float | None = None,
) -> Passed:
    """Prune what may go, or of deliveries and of payloads as much as the seconds allow."""
    from webhooks.inbox.retention import BATCH, Pruned, current_limits, prune_deliveries, prune_payloads

    limits = current_limits()
    assert limits is not None
    size, passed, total = options.batch or BATCH, Passed(), Pruned()
    middle = {"deliveries": options.old / 2, "payloads": (1 - options.old) / 4}
    for kind, walk in (("deliveries", prune_deliveries), ("payloads", prune_payloads)):
        seconds = passed.batches[kind] = []
        batches = walk(limits, batch=size)
        deadline = time.monotonic() + (seconds_each or float("inf"))
        for number in itertools.count():
            is_explained = explains and number == min(1000, int(middle[kind] * options.deliveries / size))
            plans: list[str] = []
            with connection.execute_wrapper(explaining(plans)) if is_explained else contextlib.nullcontext():
                began = time.monotonic()
                batch = next(batches, None)
                took = time.monotonic() - began
            if is_explained:
                passed.plans[kind] = plans
            else:
                seconds.append(took)
            if batch is None:
                break
            total += batch.pruned
            if time.monotonic() > deadline:
                break
            age = (limits.deliveries - batch.reached).total_seconds() / 86_400 + DAYS_KEPT
            tell(int(options.deliveries * (1 - age / options.span)))
            if not is_redirected() and number % 20 == 0:
                print(f"\r{kind}: {number} batches, {total}", end="", file=sys.stderr)
    passed.removed = asdict(total)
    return passed


def explaining(plans: list[str]) -> Callable[..., Any]:
    """Run each query once more before it is run, for its plan, and undo that."""

    def wrapper(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        cursor = context["cursor"].cursor
        if sql.startswith(("SELECT", "DELETE")):
            is_postgres = connection.vendor == "postgresql"
            if is_postgres and connection.in_atomic_block:
                cursor.execute("SAVEPOINT explained")
            cursor.execute(f"EXPLAIN {'(ANALYZE, BUFFERS, COSTS OFF)' if is_postgres else 'QUERY PLAN'} {sql}", params)
            lines = [str(row[-1])[:160] for row in cursor.fetchall()]
            plans.append("\n".join([f"{sql[:200]} …", *(f"    {line}" for line in lines)]))
            if is_postgres and connection.in_atomic_block:
                cursor.execute("ROLLBACK TO SAVEPOINT explained")
        return execute(sql, params, many, context)

    return wrapper


def report(title: str, passed: Passed) -> None:
    print(f"\n{title}: removed " + ", ".join(f"{count:,} {name}" for name, count in passed.removed.items()))
    print(
        f"{'':<12}{'batches':>9}{'seconds':>9}{'first ms':>9}{'p50':>7}{'p99':>7}{'max':>7}   median in each tenth, ms"
    )
    for kind, seconds in passed.batches.items():
        ordered = sorted(seconds)
        figures = [seconds[0], percentile(ordered, 0.5), percentile(ordered, 0.99), ordered[-1]]
        size = max(1, len(seconds) // 10)
        tenths = [
            statistics.median(seconds[start : start + size]) for start in range(0, size * 10, size) if seconds[start:]
        ]
        print(
            f"{kind:<12}{len(seconds):>9,}{sum(seconds):>9,.1f}{figures[0] * 1000:>9.1f}"
            + "".join(f"{figure * 1000:>7.1f}" for figure in figures[1:])
            + "   "
            + " ".join(f"{figure * 1000:.0f}" for figure in tenths)
        )


class Beside:
    """A session that works beside the pass, and another one that looks at the locks."""

    def __init__(self) -> None:
        spawn: SpawnContext = multiprocessing.get_context("spawn")
        self.is_pruning = spawn.Value("b", False)
        self._is_over = spawn.Value("b", False)
        self._next_id = spawn.Value("q", 1)
        self._results, theirs = spawn.Pipe(duplex=False)
        self._processes = [
            spawn.Process(target=work, args=(self.is_pruning, self._is_over, self._next_id, theirs), daemon=True),
            spawn.Process(target=watch_locks, args=(self._is_over, theirs), daemon=True),
        ]
        self._timings: dict[tuple[str, str], list[float]] = {}

    def __enter__(self) -> "Beside":
        session, watch = self._processes
        session.start()
        assert self._results.recv() == "ready"
        watch.start()  # Not before: on SQLite it has its results at once.
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over.value = True
        for _ in self._processes:
            self._timings |= self._results.recv()
        for process in self._processes:
            process.join()

    def tell(self, next_id: int) -> None:
        self._next_id.value = next_id

    def report(self) -> None:
        print(f"\n{'A session beside it, ms':<44}{'calls':>9}{'p50':>8}{'p99':>8}{'max':>8}")
        for (name, phase), seconds in sorted(self._timings.items()):
            ordered = sorted(seconds)
            figures = [percentile(ordered, share) for share in (0.5, 0.99, 1.0)] if ordered else []
            print(
                f"{name + ', ' + phase:<44}{len(seconds):>9,}" + "".join(f"{figure * 1000:>8.1f}" for figure in figures)
            )


def work(is_pruning: Any, is_over: Any, next_id: Any, results: Any) -> None:
    """Store, claim, record and redeliver until it is over; send how long each took, in seconds."""
    django.setup()
    from tests.publishing.test_relay import SUBSCRIPTION
    from tests.support.inbox_rows import new_delivery
    from webhooks.inbox import store as inbox
    from webhooks.inbox import transitions
    from webhooks.inbox.new_delivery import Stored
    from webhooks.inbox.outcomes import Outcome
    from webhooks.models import Delivery
    from webhooks.states import AttemptOutcome
    from webhooks.subscriptions.subscription import Backoff

    done = Outcome(kind=AttemptOutcome.SUCCEEDED)
    timings: dict[tuple[str, str], list[float]] = defaultdict(list)

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        phase = "while it prunes" if is_pruning.value else "before"
        timings[name, phase].append(time.monotonic() - began)

    def store(guid: uuid.UUID) -> Stored:
        return inbox.store(new_delivery(guid=guid, subscriptions=[SUBSCRIPTION]))

    results.send("ready")
    while not is_over.value and is_wanted():
        with timed("store a delivery"):
            stored = store(uuid.uuid4())
        with timed("claim and record its job"):
            job = transitions.claim(
                stored.to_publish[0].id, worker="worker@node", lease_seconds=60, handler=SUBSCRIPTION.name
            )
            assert job is not None
            ended = transitions.Ended(job=job, outcome=done, backoff=Backoff(), age_seconds=0, worker="worker@node")
            transitions.record(ended)
        about_to_go = Delivery.objects.filter(pk__gt=next_id.value).order_by("pk").values_list("guid", flat=True)[:200]
        for guid in about_to_go[::50]:
            with timed("redeliver what is being pruned"):
                store(guid)
        time.sleep(0.02)
    results.send(dict(timings))
    connection.close()


def is_wanted() -> bool:
    """Whether the process that started this one is there."""
    parent = multiprocessing.parent_process()
    return parent is not None and parent.is_alive()


def watch_locks(is_over: Any, results: Any) -> None:
    """Look for waits until it is over; send how long each that was seen had lasted, in seconds."""
    django.setup()
    waits: list[float] = []
    while connection.vendor == "postgresql" and not is_over.value and is_wanted():
        ((wait,),) = rows(WAITS)
        if wait is not None:
            waits.append(float(wait))
        time.sleep(0.02)
    results.send({("waits for a lock that were seen", "any session"): waits})
    connection.close()


if __name__ == "__main__":
    main()
