"""Draws panels of lines into one SVG: for each its title, a legend, the values and the minutes since the begin."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]
"""Moments, and the value at each."""
COLUMNS = 3
WIDTH, HEIGHT, GAP = 400, 220, 16
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 56
"""The margins of a panel, around its plot."""
COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#475569", "#a16207")
MOST_MINUTES = 8
"""So many of them have room for their names."""
STEPS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#475569}.t{font-size:13px;font-weight:600;fill:#0f172a}"
    ".p{fill:#fff;stroke:#e2e8f0}.g{stroke:#e2e8f0}.l{fill:none;stroke-width:1.6}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel: its title, Grafana's name of the unit, and its lines by what the legend calls them."""

    title: str
    unit: str
    lines: Sequence[tuple[str, Points]]


def drawing(panels: Sequence[Panel], *, start: float, end: float) -> str:
    """Return the SVG of these panels between two moments."""
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP
    drawn = []
    for number, panel in enumerate(panels):
        left, top = GAP + number % COLUMNS * (WIDTH + GAP), GAP + number // COLUMNS * (HEIGHT + GAP)
        drawn.append(f'<g transform="translate({left} {top})">{_panel(panel, start, end)}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<style>{STYLE}</style><rect width="{width}" height="{height}" fill="#f8fafc"/>{"".join(drawn)}</svg>\n'
    )


def _panel(panel: Panel, start: float, end: float) -> str:
    highest = _round_up(max((value for _, points in panel.lines for _, value in points), default=0.0))
    lines = [
        f'<polyline class="l" stroke="{COLOURS[number % len(COLOURS)]}" points="'
        + " ".join(f"{_x((at - start) / (end - start)):.1f},{_y(value / highest):.1f}" for at, value in points)
        + '"/>'
        for number, (_, points) in enumerate(panel.lines)
    ]
    box = f'<rect class="p" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
    title = f'<text class="t" x="12" y="20">{escape(panel.title)}</text>'
    axes = _axes(highest, panel.unit, seconds=end - start)
    return "".join([box, title, *axes, *lines, *_legend([name for name, _ in panel.lines])])


def _x(share: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def _axes(highest: float, unit: str, *, seconds: float) -> Iterator[str]:
    for share in (0.0, 0.5, 1.0):
        y = _y(share)
        yield f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_value(highest * share, unit)}</text>'
    minutes = int(seconds // 60)
    for minute in range(0, minutes + 1, -(-minutes // MOST_MINUTES) or 1):
        x = _x(minute * 60 / seconds)
        yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{minute} min</text>'


def _legend(names: Sequence[str]) -> list[str]:
    """Return the names with their colours, in as many rows as there is room for."""
    parts, x, y = [], 12.0, HEIGHT - 24
    for number, name in enumerate(names):
        width = 24 + 6.1 * len(name)
        if x + width > WIDTH and x > 12:
            x, y = 12.0, y + 14
        if y > HEIGHT - 8:
            break
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x:.1f}" y="{y - 8}" width="9" height="9" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 13:.1f}" y="{y}">{escape(name)}</text>')
        x += width
    return parts


def _round_up(value: float) -> float:
    """Return the next round number; 1 for nothing."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(size * step for step in STEPS if size * step >= value)


def _value(value: float, unit: str) -> str:
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:g} ms"
    suffix = {"s": " s", "ops": " /s"}.get(unit, "")
    return f"{value:,.0f}{suffix}" if value >= 1000 else f"{value:g}{suffix}"
