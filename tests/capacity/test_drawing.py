"""Panels of lines, as SVG."""

import xml.etree.ElementTree as ET

import pytest

from workers.capacity.drawing import COLUMNS, Panel, drawing

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*panels: Panel, end: float = 600.0) -> ET.Element:
    return ET.fromstring(drawing(panels, start=0.0, end=end))


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_panel_has_its_title_a_line_and_a_name_for_each_and_the_axes() -> None:
    root = drawn(Panel("Jobs <waiting>", "short", [("a & b", [(0.0, 0.0), (600.0, 1500.0)]), ("c", [(0.0, 1.0)])]))
    lines = [line.get("points") for line in root.iter(f"{SVG}polyline")]
    # From the lower left corner of the plot to three quarters of its height, at the right.
    assert lines[0] == "52.0,164.0 386.0,66.5"
    assert len(lines) == 2
    assert texts(root)[:4] == ["Jobs <waiting>", "0", "1,000", "2,000"]
    assert {"a & b", "c", "0 min", "10 min"} <= set(texts(root))


@pytest.mark.parametrize(
    ("highest", "unit", "labels"),
    [
        (0.0, "short", ["0", "0.5", "1"]),
        (0.4, "s", ["0 s", "200 ms", "400 ms"]),
        (25.0, "s", ["0 s", "15 s", "30 s"]),
        (70.0, "ops", ["0 /s", "40 /s", "80 /s"]),
        (90_000.0, "short", ["0", "50,000", "100,000"]),
    ],
)
def test_the_highest_value_is_rounded_up_and_has_its_unit(highest: float, unit: str, labels: list[str]) -> None:
    assert texts(drawn(Panel("", unit, [("a", [(0.0, highest)])])))[1:4] == labels


def test_panels_stand_in_rows_and_names_too() -> None:
    many = [(f"a rather long name {number}", [(0.0, 1.0)]) for number in range(30)]
    root = drawn(*[Panel("", "short", many)] * (COLUMNS + 1))
    places = [group.get("transform") for group in root.iter(f"{SVG}g")]
    assert places == ["translate(16 16)", "translate(432 16)", "translate(848 16)", "translate(16 252)"]
    names = [text for text in texts(root) if text.startswith("a rather")]
    # Those for which there is no room are left out.
    assert 0 < len(names) < 30 * (COLUMNS + 1)


def test_a_moment_alone_is_drawn_too() -> None:
    assert texts(drawn(Panel("", "short", [("a", [(0.0, 1.0)])]), end=1.0))[-2] == "0 min"
