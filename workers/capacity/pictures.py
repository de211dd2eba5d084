"""Pictures of a comparison: backlog, workers and age over time, a line for each policy."""

from collections.abc import Callable, Sequence

from workers.capacity.drawing import Panel, Points, drawing
from workers.capacity.results import Moment, Result

MOST_POINTS = 600
"""A line of more has no more to see."""
PANELS: tuple[tuple[str, str, Callable[[Moment], float]], ...] = (
    ("Jobs that wait", "short", lambda moment: float(moment.waiting)),
    ("Workers that are ready", "short", lambda moment: float(moment.ready)),
    ("Age of the oldest waiting job", "s", lambda moment: moment.oldest_seconds),
)


def picture(results: Sequence[Result]) -> str:
    """Return the SVG."""
    panels = [
        Panel(title, unit, [(result.name, _points(result.moments, value)) for result in results])
        for title, unit, value in PANELS
    ]
    return drawing(panels, start=0.0, end=max(result.moments[-1].at for result in results) or 1.0)


def _points(moments: Sequence[Moment], value: Callable[[Moment], float]) -> Points:
    """Return a line with the highest of each group of moments, so that no peak is lost."""
    size = -(-len(moments) // MOST_POINTS)
    groups = [moments[begin : begin + size] for begin in range(0, len(moments), size)]
    return [(group[0].at, max(map(value, group))) for group in groups]
