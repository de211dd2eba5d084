"""How `manage.py pull` says what was pulled, how handlers ended, and which calls of GitHub were held back."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from rich.console import Console

from webhooks import local_run, recorded_calls
from webhooks.listening import url_of
from webhooks.management.tables import printable
from webhooks.pulling.pulling import HandlerRun, Pulled, Unseen, Wanted
from webhooks.states import AttemptOutcome

GOOD = (AttemptOutcome.SUCCEEDED, AttemptOutcome.RETRY_LATER)
Calls = tuple[Sequence[recorded_calls.RecordedCall], int]


def recorded() -> Calls:
    """Return the calls of GitHub that were recorded and not sent, and how many more there were."""
    return recorded_calls.taken()


def show(console: Console, one: Pulled, wanted: Wanted) -> None:
    """Print one delivery, and how each of its handlers ended."""
    handed = one.handed
    event = f"{handed.event}.{handed.action}" if handed.action else handed.event
    head = f"{event} {handed.repository} {handed.guid}, received there {handed.received_at:%Y-%m-%d %H:%M:%S} UTC"
    console.print(printable(head))
    console.print(f"  {printable(_said(one, wanted))}")
    for run in one.runs:
        for line in _run_lines(run):
            console.print(f"  {printable(line)}")


def _said(one: Pulled, wanted: Wanted) -> str:
    if one.number is None:
        return f"not pulled: {one.refused}"
    if one.is_old:
        return f"is here already, as #{one.number}; --again runs its handlers again"
    if not one.jobs:
        return f"stored as #{one.number}; no handler is subscribed to it here"
    return f"stored as #{one.number}" if wanted.runs else f"stored as #{one.number}, {_count(one.jobs, 'job')} waiting"


def _run_lines(run: HandlerRun) -> Iterator[str]:
    if run.ran is None:
        yield f"{run.handler}  not run here: another process has the job, or the handler is not installed"
        return
    outcome = run.ran.outcome
    yield f"{run.handler}  {outcome.kind.label.lower()}  {run.ran.seconds:.2f} s  {outcome.message}".rstrip()
    for line in outcome.traceback.splitlines():
        yield f"  {line}"


def is_faulty(found: Sequence[Pulled], unseen: Unseen) -> bool:
    """Tell whether a handler failed, or something was not handed out."""
    runs = [run.ran for one in found for run in one.runs]
    failed = any(ran is None or ran.outcome.kind not in GOOD for ran in runs)
    return (
        failed
        or any(one.number is None for one in found)
        or unseen.is_cut
        or unseen.too_large + unseen.unreadable > 0
        or not found
    )


def conclusion(
    found: Sequence[Pulled], unseen: Unseen, wanted: Wanted, calls: Calls, *, has_worker: bool
) -> Iterator[str]:
    """Yield the last lines: what was not seen, what was held back, and where to look."""
    if not found:
        yield "Nothing was found there. Repositories are written as GitHub writes them, small and capital letters too."
    yield from _unseen_lines(unseen, wanted)
    yield from _call_lines(calls)
    if any(one.jobs for one in found) and not wanted.runs:
        yield _who_runs(has_worker=has_worker)


def _unseen_lines(unseen: Unseen, wanted: Wanted) -> Iterator[str]:
    if unseen.is_cut:
        yield f"There are more: only the first {wanted.most:,} were pulled. --most pulls more."
    if unseen.pruned:
        yield f"{_count(unseen.pruned, 'delivery', 'deliveries')} of the repository without a payload: pruned there."
    if unseen.unreadable:
        yield f"{_count(unseen.unreadable, 'payload')} of the repository encrypted there with a key that is not there."
    if unseen.too_large:
        yield f"{_count(unseen.too_large, 'payload')} of the repository too large to be looked into; pull by GUID."
    if unseen.since:
        since = unseen.since[:16].replace("T", " ")
        yield f"Nothing older than {since} UTC was looked at: payloads are kept no longer there."


def _call_lines(calls: Calls) -> Iterator[str]:
    noted, more = calls
    if not noted:
        return
    yield f"Calls of GitHub that were recorded, and not sent ({len(noted) + more:,}):"
    for call in noted:
        yield printable(f"  {call.method} {call.url}  {call.summary}".rstrip())
    if more:
        yield f"  and {more:,} more"


def _who_runs(*, has_worker: bool) -> str:
    if not has_worker:
        return "No worker runs here: `make run` starts one."
    run = local_run.noted(settings.HOOKLINE_DATA_DIR)
    console = run.receiver if run else url_of(settings.HOOKLINE_HOST, settings.HOOKLINE_PORT)
    return f"The worker of `make run` runs them: {console}/deliveries/"


def as_json(found: Sequence[Pulled], unseen: Unseen, calls: Calls) -> dict[str, Any]:
    noted, more = calls
    return {
        "deliveries": [_as_json(one) for one in found],
        "pruned": unseen.pruned,
        "unreadable": unseen.unreadable,
        "too_large": unseen.too_large,
        "since": unseen.since or None,
        "is_cut": unseen.is_cut,
        "recorded_calls": [call._asdict() for call in noted],
        "more_recorded_calls": more,
    }


def _as_json(one: Pulled) -> dict[str, Any]:
    return {
        "guid": str(one.handed.guid),
        "event": one.handed.event,
        "action": one.handed.action,
        "received_at": one.handed.received_at.isoformat(),
        "delivery": one.number,
        "refused": one.refused or None,
        "was_here": one.is_old,
        "runs": [
            {
                "handler": run.handler,
                "outcome": run.ran.outcome.kind.value if run.ran else None,
                "message": run.ran.outcome.message if run.ran else "",
                "seconds": round(run.ran.seconds, 3) if run.ran else None,
                "traceback": run.ran.outcome.traceback if run.ran else "",
            }
            for run in one.runs
        ],
    }


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
