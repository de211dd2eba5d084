"""The table at the end: the figures to beat, a line for each scene and broker, then what failed and why."""

from collections.abc import Iterable, Sequence

from tests.drain.pod import Stop
from tests.drain.report import Report

HEAD = (
    *("scene", "broker", "jobs", "stops", "of", "busy", "left", "cut off", "handed back", "gone s"),
    *("after last s", "began after", "lost", "twice", "spent", "exit", "verdict"),
)
LEFT = 2
"""So many columns are text; the rest are numbers, to the right."""
QUOTED = (
    ("article's recipe, a stop file", "quoted", "", "", "8", "", "7", "5", *[""] * 9),
    ("the same recipe, repaired", "quoted", "", "", "8", "", "0", "0", "", "", "0.0-1.0", *[""] * 6),
)
"""Figures to beat. They were measured elsewhere, and are not part of this run."""
LEGEND = """
of: consumers of a worker. busy: runs under way at the request, a stop. left: jobs still claimed once the stop was over.
cut off: runs begun that neither ended by themselves nor were handed back. gone: from the request until the main
process had ended. after last: the same from the end of the last run, of workers that had run anything. began
after: runs begun after the request, and how late the last of them was; those had been given to a child before. lost:
deliveries of which a job did not succeed. twice: jobs whose effect came about twice. spent: attempts that a stop cost.
exit: -15 is of a worker that was stopped before Python had begun; it had run nothing.
quoted: figures to beat, not measured in this run; the article's recipe stops 1 of its 8 consumers."""


def lines(reports: Sequence[Report]) -> Iterable[str]:
    """Yield the table, its legend, and the notes and failures by scene."""
    rows = [HEAD, *QUOTED, *(row(report) for report in reports)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        yield "  ".join(
            cell.ljust(width) if place < LEFT else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
    yield from LEGEND.splitlines()
    for report in reports:
        for word, sentences in (("note", report.notes), ("FAILED", report.failures), ("not run", [report.not_run])):
            yield from (f"{report.name}, {report.broker}: {word}: {sentence}" for sentence in sentences if sentence)


def row(report: Report) -> tuple[str, ...]:
    totals, stops = report.totals, report.stops
    if totals is None:
        verdict = "not run" if report.not_run else "FAILED"
        return (report.name, report.broker, *[""] * (len(HEAD) - LEFT - 1), verdict)
    return (
        report.name,
        report.broker,
        f"{totals.jobs:,}",
        str(len(stops)),
        str(report.consumers),
        span(stop.busy for stop in stops),
        str(sum(stop.left for stop in stops)),
        str(sum(stop.cut_off for stop in stops)),
        str(sum(stop.handed_back for stop in stops)),
        span(stop.gone_seconds for stop in stops),
        span(stop.beyond_seconds for stop in stops if stop.runs),
        began_after(stops),
        str(totals.lost),
        str(totals.run_twice),
        str(totals.spent),
        ",".join(str(status) for status in sorted({stop.status for stop in stops})),
        "FAILED" if report.failures else "ok",
    )


def span(values: Iterable[float]) -> str:
    """Return the least and the most."""
    found = sorted(values)
    if not found:
        return ""
    shown = [f"{value}" if isinstance(value, int) else f"{value:.1f}" for value in (found[0], found[-1])]
    return shown[0] if shown[0] == shown[1] else "-".join(shown)


def began_after(stops: Sequence[Stop]) -> str:
    count = sum(stop.started_after for stop in stops)
    latest = max((stop.last_start_seconds for stop in stops), default=0.0)
    return f"{count}, {latest * 1000:.0f} ms" if count else "0"
