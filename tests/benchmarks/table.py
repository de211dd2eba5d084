"""Prints what was measured: a line for each system and setting, medians of several rounds."""

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name")
Reading = Mapping[str, float]
"""One round: figures by name; the name says the unit."""


class Table:
    """Readings by line, in the order in which they came."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lines: dict[str, list[Reading]] = {}

    def add(self, line: str, reading: Reading) -> None:
        """Take one round's figures, and show them on standard error, where one may follow them."""
        self._lines.setdefault(line, []).append(reading)
        shown = ", ".join(f"{name} {short(value)}" for name, value in reading.items())
        print(f"  {line}: {shown}", file=sys.stderr, flush=True)

    def print(self) -> None:
        names = list(dict.fromkeys(name for readings in self._lines.values() for one in readings for name in one))
        rows = [["", *names]]
        for line, readings in self._lines.items():
            rows.append([line, *(median(readings, name) for name in names)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print(f"\n{self._title}")
        for row in rows:
            first, *others = (text.rjust(width) for text, width in zip(row, widths, strict=True))
            print(first.strip().ljust(widths[0]), *others, sep="  ")
        rounds = max(map(len, self._lines.values()))
        print(f"Medians of {rounds} rounds." if rounds > 1 else "", flush=True)


def median(readings: Sequence[Reading], name: str) -> str:
    values = [one[name] for one in readings if name in one]
    return short(statistics.median(values)) if values else "-"


def short(value: float) -> str:
    """Return a number with three digits or so."""
    places = next((places for places, least in ((0, 100), (1, 10), (2, 1)) if abs(value) >= least), 3)
    return f"{value:,.{0 if value == int(value) else places}f}"


def options(doc: str | None, *, systems: Sequence[str] = (), seconds: float, rounds: int) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark can be told."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if systems:
        parser.add_argument("--systems", nargs="+", default=systems, choices=systems)
    parser.add_argument("--broker", default="rabbitmq", choices=("rabbitmq", "redis"))
    parser.add_argument("--seconds", type=float, default=seconds, help="of each measurement (default %(default)g)")
    parser.add_argument("--rounds", type=int, default=rounds, help="default %(default)s")
    return parser


def each(rounds: int, names: Sequence[Name]) -> Iterator[Name]:
    """Yield the names in turn, round after round, so that what else the machine does meets all of them."""
    for _ in range(rounds):
        yield from names
