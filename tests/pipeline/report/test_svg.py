from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from pipeline.report import svg as canvas
from pipeline.report.svg import STAND_IN, Chart, spread, styled, to_svg


def chart() -> Chart:
    with styled():
        axes = canvas.panel(100, left=30)
        axes.plot([0, 1], [0.123456, 1], color=STAND_IN["accent"])
        axes.text(0.5, 0.5, "0.00456 <b>", color=STAND_IN["quiet"])
        return Chart("sample", "A <title>", "What & why", canvas.figure_of(axes))


def svg() -> str:
    with styled():
        return to_svg(chart())


def test_it_is_one_well_formed_image_with_title_and_description() -> None:
    root = ET.fromstring(svg())
    assert root.tag == "svg"
    assert root.get("role") == "img"
    named = {each.get("id"): each.text for each in root if each.tag in ("title", "desc")}
    assert named == {"sample-title": "A <title>", "sample-desc": "What & why"}
    assert root.get("aria-labelledby") == "sample-title sample-desc"
    assert root.get("viewBox") == f"0 0 {canvas.WIDTH:g} 100"


def test_every_colour_is_a_variable_of_the_page() -> None:
    text = svg()
    assert "var(--accent)" in text
    assert "var(--quiet)" in text
    assert not re.search(r"#[0-9a-f]{6}\b", text.replace("url(#", ""))


def test_text_stays_text_in_the_font_of_the_page_and_keeps_its_digits() -> None:
    text = svg()
    assert "0.00456 &lt;b&gt;</text>" in text
    assert "DejaVu" not in text
    assert "font-family" not in text


def test_drawing_twice_gives_the_same_bytes() -> None:
    assert svg() == svg()


def test_the_ids_of_two_figures_differ_so_that_they_fit_into_one_page() -> None:
    first, second = chart(), chart()
    with styled():
        texts = [to_svg(first), to_svg(Chart("other", "", "", second.figure))]
    ids = [set(re.findall(r'id="([^"]+)"', text)) for text in texts]
    assert ids[0]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([1.0, 1.2, 5.0], [0.6, 1.6, 5.0]),
        ([5.0, 1.2, 1.0], [5.0, 1.6, 0.6]),
        ([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]),
        ([0.0, 9.9, 10.0], [0.0, 9.0, 10.0]),
        ([], []),
    ],
)
def test_names_move_apart_as_little_as_they_must(
    places: list[float], expected: list[float]
) -> None:
    assert spread(places, 1.0, 0.0, 10.0) == pytest.approx(expected)
