from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks import report
from tests.pipeline.report.full_run import full_records

COMMITTED = Path(__file__).parents[2] / "docs" / "report.svg"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_shows_the_three_figures_with_their_titles(tmp_path: Path) -> None:
    for stage, record in full_records().items():
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "record.json").write_text(json.dumps(record))
    root = ET.fromstring(report.picture(tmp_path))
    assert len(root.findall(f"{SVG}svg")) == 3
    titles = [text.text for text in root.findall(f"{SVG}text")]
    assert titles == [
        "Latency, p50 at batch 1",
        "Size of the engine file",
        "Accuracy, with 95 % interval",
    ]
    # The verdict begins with it: the sample has an engine that is wrong.
    assert str(root.findtext(f"{SVG}title")).startswith("Parity fails in 1 of 3 checks")


def test_the_picture_of_the_readme_is_small_and_needs_no_network() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    assert len(text) < 100_000
    assert text.count("http") == 1  # the name space
    ET.fromstring(text)
