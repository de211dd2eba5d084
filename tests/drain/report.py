"""What a scene has found, and what of it is a failure. Values in, values out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.drain.pod import Stop

LATE_SECONDS = 0.5
"""A run that begins so long after the request was not on its way to a child any more."""
BEYOND_SECONDS = 3.0
"""How much longer than its last run a stop may take: Celery sleeps half a second a few times, see decision 0010."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What holds of a whole scene, once every job is final."""

    jobs: int
    lost: int
    run_twice: int
    """Jobs whose effect came about more than once."""
    cut_off: int
    """Runs, of whichever worker, that neither ended by themselves nor were handed back."""
    spent: int
    """Attempts over all jobs beyond the one that succeeded, and not forgiven."""


@dataclass(slots=True, kw_only=True)
class Report:
    """One scene on one broker; `consumers` are those of one worker."""

    name: str
    broker: str
    consumers: int
    stops: Sequence[Stop] = ()
    totals: Totals | None = None
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    not_run: str = ""


def faults_of(stop: Stop, *, beyond_seconds: float) -> list[str]:
    """Return what is wrong in any planned stop; it may take so much longer than its last run.

    A worker that was still starting finishes its start first, and may take longer.
    """
    claims = {
        f"exit status {stop.status}": not stop.is_planned,
        "still there at the end of the grace, and killed": stop.was_killed,
        f"{stop.cut_off} of {stop.busy} runs cut off": stop.cut_off,
        f"{stop.left} jobs still claimed after the stop": stop.left,
        f"a run began {stop.last_start_seconds:.2f} s after the request": stop.last_start_seconds > LATE_SECONDS,
        f"gone {stop.beyond_seconds:.1f} s after its last run": stop.runs and stop.beyond_seconds > beyond_seconds,
    }
    return [sentence for sentence, is_so in claims.items() if is_so]


def faults_of_stops(stops: Sequence[Stop], *, beyond_seconds: float) -> list[str]:
    return [
        f"stop {number}: {sentence}"
        for number, stop in enumerate(stops, start=1)
        for sentence in faults_of(stop, beyond_seconds=beyond_seconds)
    ]


def faults_of_all(totals: Totals) -> list[str]:
    claims = {
        f"{totals.lost} lost": totals.lost,
        f"{totals.run_twice} run twice": totals.run_twice,
        f"{totals.cut_off} runs cut off": totals.cut_off,
        f"{totals.spent} attempts spent": totals.spent,
    }
    return [sentence for sentence, is_so in claims.items() if is_so]
