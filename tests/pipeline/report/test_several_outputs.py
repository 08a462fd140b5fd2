"""A network with several outputs in every format; what each has is in results/test_outputs.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import report as reports
from pipeline.report import contents, html
from pipeline.report.sections import measures
from tests.pipeline.report.several_run import OUTPUTS, alone, arrays, together
from tests.pipeline.report.test_html import Page

BY_OUTPUT = {
    "Other metrics": ["there", "labels", "size", "Size", "mask"],
    "Accuracy by class": ["kind", "there", "labels", "mask"],
    "Answers": ["there", "labels", "size", "Size", "mask"],
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder: Path = tmp_path_factory.mktemp("several")
    return Page(html.render(together(), arrays(folder)))


def test_the_page_has_the_sections_of_every_output_under_its_name(page: Page) -> None:
    expected = [f"{title}: {name}" for title, names in BY_OUTPUT.items() for name in names]
    assert [title for title in page.text_of("h2") if ": " in title] == expected


def test_no_two_outputs_share_a_link_or_a_figure(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(link["href"])[1:] for link in page.named("a")]
    assert len(links) == len(set(links))
    assert set(links) <= set(ids)
    described = {each for svg in page.named("svg") for each in str(svg["aria-labelledby"]).split()}
    assert described <= set(ids)


def test_every_output_has_its_figures_and_images(page: Page) -> None:
    captions = page.text_of("figcaption")
    for title in (
        "Precision and recall of yes",
        "Average precision by label, worst first",
        "Predicted against true: mm",
        "Predicted against true: inch",
    ):
        assert captions.count(title) == 1
    assert captions.count("Confusion of LiteRT INT8") == 2
    assert captions.count("Confusion of LiteRT INT8, in pixels") == 1
    headings = page.text_of("h3")
    assert "Lost: right before, wrong now, 3" in headings
    assert sum(title.startswith("Test image") for title in headings) == 2
    assert len(page.named("img")) == 4 + 2 * 4


def test_tables_are_called_as_their_output() -> None:
    found = {each.title: each for each in contents.tables(together(), "md")}
    text = reports.render(together(), "md")
    for name in OUTPUTS:
        for table in contents.tables(alone(name), "md"):
            if table.title in ("Other metrics", "Classes", "Labels", "Mistakes"):
                own = f"{table.title}: {name}"
                assert found[own].rows == table.rows
                assert f"\n## {own}\n" in text
    assert "Other metrics" not in found


def test_below_the_outputs_stands_what_became_worse_in_each() -> None:
    notes = measures.output_table(together()).notes
    said = "litert int8 against the trained model, image by image: "
    assert notes[:2] == (
        f"kind: {said}3 lost, 1 won, 0 wrong in another way.",
        f"there: {said}3 moved to the wrong side of the threshold, 1 to the right one.",
    )
    assert len(notes) == len(OUTPUTS)
    assert measures.output_table(alone("there")).notes == ()
