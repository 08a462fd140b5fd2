"""The page as a browser shows it: Chromium without a window, driven by Playwright."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install playwright"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser: apt-get install chromium"
)

PHONE, DESKTOP = 390, 1280
PATIENCE_MS = 300_000
WIDTHS = pytest.mark.parametrize("width", [PHONE, DESKTOP])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, full_page: str) -> Path:
    file: Path = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(full_page, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # Chromium's sandbox refuses to work for root, which is who runs in most containers.
        opened = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        yield opened
        opened.close()


class Shown:
    """The page in a window; `complaints` is what the browser printed."""

    def __init__(self, browser: Any, file: Path, width: int, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url[:80]))
        self.page.goto(file.as_uri())

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)


OVERHANG = "document.documentElement.scrollWidth - window.innerWidth"
OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"
FIGURES = """[...document.querySelectorAll('figure')].map(figure => {
    const box = figure.querySelector('svg').getBoundingClientRect();
    return [figure.querySelector('figcaption').textContent, box.left, box.right, box.height];
})"""
TEXTS = """[...document.querySelectorAll('figure')].flatMap(figure => {
    const box = figure.getBoundingClientRect();
    return [...figure.querySelectorAll('svg text')].map(text => {
        const own = text.getBoundingClientRect();
        const size = parseFloat(getComputedStyle(text).fontSize);
        const svg = text.ownerSVGElement;
        const pixels = size * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
        const out = Math.max(box.left - own.left, own.right - box.right,
                             box.top - own.top, own.bottom - box.bottom);
        return [text.textContent, pixels, out];
    });
})"""


@WIDTHS
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_complaint(browser: Any, file: Path, width: int, scheme: str) -> None:
    with Shown(browser, file, width, scheme) as shown:
        assert shown.ask("document.readyState") == "complete"
        assert shown.complaints == []


@WIDTHS
def test_every_figure_is_seen_whole(browser: Any, file: Path, width: int) -> None:
    with Shown(browser, file, width) as shown:
        figures = shown.ask(FIGURES)
    assert len(figures) == 20
    for title, left, right, height in figures:
        assert left >= 0, title
        assert right <= width, title
        assert right - left > 300, title
        assert height > 60, title


@WIDTHS
def test_text_in_figures_is_legible_and_inside_its_figure(
    browser: Any, file: Path, width: int
) -> None:
    with Shown(browser, file, width) as shown:
        texts = shown.ask(TEXTS)
    assert len(texts) > 200
    for text, pixels, out in texts:
        assert pixels >= 8, text
        assert out <= 0, text


@WIDTHS
def test_nothing_makes_the_page_wider_than_the_window_even_with_all_tables_open(
    browser: Any, file: Path, width: int
) -> None:
    with Shown(browser, file, width) as shown:
        assert shown.ask(OVERHANG) <= 0
        shown.ask(OPEN_ALL)
        assert shown.ask(OVERHANG) <= 0


def test_images_are_decoded_and_have_words_for_who_cannot_see_them(
    browser: Any, file: Path
) -> None:
    with Shown(browser, file, DESKTOP) as shown:
        images = shown.ask("[...document.images].map(image => [image.naturalWidth, image.alt])")
    assert len(images) == 4
    assert all(width == 8 and alt.startswith("test image") for width, alt in images)


def test_dark_mode_changes_page_text_and_figures(browser: Any, file: Path) -> None:
    colours = """(() => {
        const style = selector => getComputedStyle(document.querySelector(selector));
        return [style('body').backgroundColor, style('body').color,
                style('figure').backgroundColor, style('svg text').fill,
                style('svg path[style*="--int8"]').fill];
    })()"""
    found = []
    for scheme in ("light", "dark"):
        with Shown(browser, file, DESKTOP, scheme) as shown:
            found.append(shown.ask(colours))
    assert all(light != dark for light, dark in zip(*found, strict=True)), found


def test_headings_go_down_one_level_at_a_time(browser: Any, file: Path) -> None:
    with Shown(browser, file, DESKTOP) as shown:
        levels = shown.ask(
            "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(each => +each.tagName[1])"
        )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_first_press_of_tab_offers_the_way_to_the_results(browser: Any, file: Path) -> None:
    with Shown(browser, file, DESKTOP) as shown:
        shown.page.keyboard.press("Tab")
        focused = shown.ask(
            "[document.activeElement.textContent, "
            "document.activeElement.getBoundingClientRect().left >= 0]"
        )
    assert focused == ["Skip to the results", True]
