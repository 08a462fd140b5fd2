"""How long the HTML report takes and how large it is; on request, its picture for the README.

    python benchmarks/report.py [--artifacts artifacts] [--picture docs/report.svg]

Needs a finished `pipeline run all` in the artifact folder. The page is timed as a whole command,
with the imports and with all figures drawn anew: 3 s and 3 MB are allowed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from html import escape
from pathlib import Path

import numpy as np

from pipeline.core.plan import PLAN
from pipeline.core.store import Store
from pipeline.report import svg
from pipeline.report.html import STYLE
from pipeline.report.sections import stages
from pipeline.report.svg import WIDTH, Chart
from pipeline.results.assemble import assemble
from pipeline.results.evidence import Evidence
from stages.measurement import clock

SHOWN = ("latency-steps", "size-steps", "accuracy-steps")
GAP, HEAD, HEIGHT = 16, 46, 220
"""Between the figures, above each, and of each, in units of the picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--picture", type=Path, help="Write the main figures as SVG.")
    options = parser.parse_args()
    if options.picture:
        options.picture.write_text(picture(options.artifacts), encoding="utf-8")
    measure(options.artifacts)


def measure(artifacts: Path) -> None:
    """Print seconds and sizes of every format as a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        files = {each: Path(folder) / f"report.{each}" for each in ("html", "md", "json", "csv")}
        command = [sys.executable, "-m", "pipeline", "report", "--artifacts", str(artifacts)]
        calls = {
            each: partial(subprocess.run, [*command, "--output", str(file)], check=True)
            for each, file in files.items()
        }
        times = clock.measure(calls, 0.5, 8.0)
        print("| format | p50 seconds | kB |")
        print("| --- | ---: | ---: |")
        for each, file in files.items():
            seconds = float(np.median(times[each])) / 1e3
            print(f"| {each} | {seconds:.2f} | {file.stat().st_size / 1e3:.0f} |")


def picture(artifacts: Path) -> str:
    """The steps of latency, size and accuracy side by side, light or dark as the reader likes."""
    records, _ = Store(artifacts).read_all(stage.name for stage in PLAN)
    report = assemble(records, {})
    charts = stages.charts(report, Evidence())
    drawn = {chart.name: (chart, drawing) for chart, drawing in svg.draw(charts)}
    panels = "".join(_panel(place, *drawn[name]) for place, name in enumerate(SHOWN))
    width = len(SHOWN) * (WIDTH + GAP) + GAP
    height = HEAD + HEIGHT + 2 * GAP
    style = STYLE.read_text(encoding="utf-8").partition("* {")[0]
    text = (
        "text { font-family: system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; "
        "paint-order: stroke; stroke: var(--panel); stroke-width: 3px; }"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">'
        f"<title>{escape(report.verdict[0])}</title><style>{style}{text}</style>"
        f'<rect width="{width:g}" height="{height:g}" rx="12" fill="var(--page)"/>{panels}</svg>\n'
    )


def _panel(place: int, chart: Chart, drawing: str) -> str:
    x = GAP + place * (WIDTH + GAP)
    box = f'x="{x:g}" y="{GAP + HEAD - 8:g}" width="{WIDTH:g}" height="{HEIGHT:g}"'
    return (
        f'<rect x="{x:g}" y="{GAP}" width="{WIDTH:g}" height="{HEAD + HEIGHT:g}" rx="10" '
        f'fill="var(--panel)"/><text x="{x + 16:g}" y="{GAP + 28}" font-size="15" '
        f'font-weight="600" fill="var(--text)">{escape(chart.title)}</text>'
        + drawing.replace("<svg ", f"<svg {box} ", 1)
    )


if __name__ == "__main__":
    main()
