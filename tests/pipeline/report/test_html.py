from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.report import fingerprint
from pipeline.report import html as web_page
from pipeline.results import evidence
from stages.tasks.registry import MAIN, METRICS, TaskName
from tests.pipeline.records import judged, records, report_of
from tests.pipeline.report.full_run import full_report

VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """Collects tags and text, and refuses a tag that is closed out of order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text_of(self, tag: str) -> list[str]:
        return [data for name, data in self.texts if name == tag]


@pytest.fixture(scope="module")
def page(sample_page: str) -> Page:
    return Page(sample_page)


@pytest.fixture(scope="module")
def whole(full_page: str) -> Page:
    return Page(full_page)


def test_every_tag_is_closed_in_order(page: Page) -> None:
    assert page.open == []


def test_it_needs_no_network_and_no_script(whole: Page, full_page: str) -> None:
    assert not {tag for tag, _ in whole.tags} & {"script", "link", "iframe"}
    assert not re.search(r"https?:|url\((?!#)|@import", full_page)
    assert all(str(image["src"]).startswith("data:image/png") for image in whole.named("img"))


def test_every_table_has_a_caption_and_headed_columns_and_lines(page: Page) -> None:
    tables = len(page.named("table"))
    assert tables == len(page.named("caption")) == 7
    assert all(each.get("role") == "region" for each in page.named("div") if "tabindex" in each)
    assert {each.get("scope") for each in page.named("th")} == {"col", "row"}


def test_there_is_one_main_heading_and_one_for_every_section(page: Page) -> None:
    assert page.text_of("h1") == ["Report: digits"]
    assert page.text_of("h2") == [
        "The line",
        "Engines",
        "Latency",
        "Training",
        "How to read it",
        "How it was made",
    ]
    assert page.text_of("h3") == [
        "Engines that were not run",
        "Data set",
        "Conditions",
        "Environment",
        "Settings",
    ]


def test_a_run_that_recorded_everything_has_all_sections_and_figures(whole: Page) -> None:
    assert whole.text_of("h2") == [
        "The line",
        "Engines",
        "Latency",
        "Accuracy by class",
        "Training",
        "Pruning",
        "Quantization",
        "Parity",
        "Precision by layer",
        "How to read it",
        "How it was made",
    ]
    assert len(whole.named("svg")) == len(whole.named("figure")) == 20
    assert len(whole.named("img")) == 4


def test_every_link_leads_to_a_heading_and_no_id_is_there_twice(whole: Page) -> None:
    ids = [attributes["id"] for _, attributes in whole.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(link["href"])[1:] for link in whole.named("a")} <= set(ids)
    described = {each for svg in whole.named("svg") for each in str(svg["aria-labelledby"]).split()}
    assert described <= set(ids)


def test_the_numbers_that_people_ask_for_first_are_large(page: Page) -> None:
    assert page.text_of("dd")[:4] == ["7.0x", "8.00 µs", "14x", "98.61 %"]
    assert page.text_of("dt")[:4] == ["faster", "p50, batch 1", "smaller", "accuracy"]


def test_a_file_that_could_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "latency.npz").write_bytes(b"broken")
    report = report_of()
    page = Page(web_page.render(report, evidence.read(report, tmp_path)))
    assert any("latency.npz of the benchmark cannot be read" in text for text in page.text_of("p"))


def test_the_verdict_is_on_top(page: Page) -> None:
    assert page.text_of("p")[0].startswith("litert int8: 7.0x faster")


def test_a_section_without_content_is_left_out() -> None:
    page = Page(web_page.render(report_of(records("train"))))
    assert "Engines" not in page.text_of("h2")
    assert "Conditions" not in page.text_of("h2")


def test_it_follows_the_reader_into_the_dark_and_onto_the_phone(page: Page) -> None:
    style = page.text_of("style")[0]
    assert "prefers-color-scheme: dark" in style
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named(
        "meta"
    )


def test_script_in_names_and_reasons_is_plain_text() -> None:
    evil = "<script>alert('x')</script>"
    found = records()
    engine = found["benchmark"]["measurements"]["engines"][3]
    engine.update(backend=evil, reason=evil, fix=evil)
    found["train"]["measurements"]["dataset"]["name"] = evil
    found["train"]["settings"]["data"]["class_names"] = [evil]
    found["benchmark"]["environment"]["cpu"]["model"] = evil
    page = Page(web_page.render(report_of(found)))
    assert page.named("script") == []
    for tag in ("h1", "title", "dt", "dd", "code", "td"):
        assert any(evil in text for text in page.text_of(tag)), tag


def luminance(color: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2.2, definition of relative luminance)."""
    channels = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return sum(
        weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )


@pytest.mark.parametrize("text", ["text", "quiet"])
@pytest.mark.parametrize("back", ["page", "panel"])
def test_text_has_the_contrast_that_wcag_asks_for_in_light_and_dark(text: str, back: str) -> None:
    style = web_page.STYLE.read_text()
    colors = {name: re.findall(rf"--{name}: (#\w{{6}})", style) for name in (text, back)}
    assert len(colors[text]) == len(colors[back]) == 2
    for pair in zip(colors[text], colors[back], strict=True):
        darker, lighter = sorted(map(luminance, pair))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_without_matplotlib_the_page_has_no_figures_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fingerprint, "can_draw", lambda: False)
    html = web_page.render(full_report())
    assert "<figure" not in html
    assert "Without figures, which need: pip install matplotlib" in html


@pytest.mark.parametrize("task", sorted(set(MAIN) - {"classification"}))
def test_the_metric_of_another_task_is_explained(task: TaskName) -> None:
    text = Page(web_page.render(report_of(judged(records(), **{MAIN[task]: 0.9}))))
    assert METRICS[MAIN[task]].words in text.text_of("dt")
    assert "accuracy" not in text.text_of("dt")
    assert web_page.MEANINGS[METRICS[MAIN[task]].words] in text.text_of("dd")
