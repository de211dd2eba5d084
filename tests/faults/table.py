"""The table at the end: a line for each case and broker, then what failed and why."""

from collections.abc import Iterable, Sequence
from statistics import mean

from tests.faults.scene import Result

HEAD = (
    *("case", "what happens", "broker", "rate/s", "acked", "lost", "runs/job", "most", "effects", "twice", "not 2xx"),
    *("5xx", "unanswered", "longest ms", "recovered s", "restarts", "s", "verdict"),
)
LEFT = 3
"""So many columns are text; the rest are numbers, to the right."""


def lines(results: Sequence[Result]) -> Iterable[str]:
    """Yield the table, its legend, and the notes and failures by case."""
    rows = [HEAD, *(row(result) for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        yield "  ".join(
            cell.ljust(width) if place < LEFT else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
    yield ""
    yield "runs/job, most: attempts of a job, on average and at most. effects: done-marks of a job at most; twice: jobs"
    yield "with more than one (a run that died after its effect). recovered: from the lift of the fault until every"
    yield "delivery acknowledged before was final. restarts: processes that ended by themselves, worker/relay/receiver."
    for result in results:
        for word, sentences in (("note", result.notes), ("FAILED", result.failures), ("not run", [result.not_run])):
            yield from (f"{result.number} {result.broker}: {word}: {sentence}" for sentence in sentences if sentence)


def row(result: Result) -> tuple[str, ...]:
    account = result.account
    if account is None:
        verdict = "not run" if result.not_run else "FAILED"
        return (str(result.number), result.name, result.broker, *[""] * (len(HEAD) - LEFT - 1), verdict)
    attempts = [job.attempt for job in account.all_jobs]
    effects = account.effects_per_job
    return (
        str(result.number),
        result.name,
        result.broker,
        f"{result.rate:.0f}",
        f"{len(account.acknowledged):,}",
        str(len(account.lost)),
        f"{mean(attempts):.2f}" if attempts else "",
        str(max(attempts, default=0)),
        str(max(effects.values(), default=0)),
        str(sum(count > 1 for count in effects.values())),
        str(sum(count for status, count in account.statuses.items() if status >= 300)),
        str(sum(count for status, count in account.statuses.items() if status >= 500)),
        str(account.statuses[0]),
        f"{account.longest_acknowledgement_ms:,.0f}",
        f"{account.recovered_seconds:.1f}",
        "/".join(str(result.restarts.get(role, 0)) for role in ("worker", "relay", "receiver")),
        f"{result.seconds:.0f}",
        "FAILED" if result.failures else "ok",
    )
