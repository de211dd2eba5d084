"""That the benchmarks can be started, and how they print; what they measure is for whoever runs them."""

import importlib
import sys

import pytest

from tests.benchmarks.__main__ import NAMES
from tests.benchmarks.table import Table, each, short


@pytest.mark.parametrize("name", [*NAMES, "growth", "console"])
def test_each_benchmark_says_what_it_measures(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"tests.benchmarks.{name}").main()
    assert ended.value.code == 0
    assert f"python -m tests.benchmarks.{name}" in capsys.readouterr().out


def test_a_table_has_the_medians_of_all_rounds_beside_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("Two systems")
    for jobs in (100, 3000, 200):
        table.add("hookline", {"jobs/s": jobs, "relay": 0.25})
    table.add("baseline", {"jobs/s": 50})
    table.print()
    assert capsys.readouterr().out.splitlines()[1:] == [
        "Two systems",
        "          jobs/s  relay",
        "hookline     200  0.250",
        "baseline      50      -",
        "Medians of 3 rounds.",
    ]


def test_the_systems_take_turns() -> None:
    assert list(each(2, ["hookline", "baseline"])) == ["hookline", "baseline", "hookline", "baseline"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346"), (7.0, "7")],
)
def test_a_figure_has_three_digits_or_so(value: float, text: str) -> None:
    assert short(value) == text
