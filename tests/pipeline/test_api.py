from __future__ import annotations

import html
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from records import report_of as sample

import pipeline
from pipeline.api import Optimized, _archive, optimize
from stages.datasets import npz
from stages.errors import SettingsError


def test_importing_pipeline_imports_nothing_of_weight() -> None:
    code = "import sys, pipeline; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "pydantic", "click", "stages", "tensorflow"}


def test_only_what_is_documented_can_be_asked_for() -> None:
    assert pipeline.optimize is optimize
    with pytest.raises(AttributeError, match="no attribute 'optimise'"):
        pipeline.optimise  # noqa: B018


def test_a_notebook_shows_the_verdict_and_the_tables(tmp_path: Path) -> None:
    report = sample()
    shown = html.unescape(Optimized(report, tmp_path)._repr_html_())
    for line in report.verdict:
        assert line.replace("->", "→") in shown
    assert shown.count("<table") == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prune.ration": 0.5}, "prune.ratio"),
        ({"prune": {"ratio": 0.5}}, "prune: got .*, expected a string, a number"),
        ({"data.scale": None}, "data.scale: got None"),
    ],
)
def test_a_wrong_setting_is_one_line_before_anything_runs(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    pixels, labels = np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 0, 1])
    with pytest.raises(SettingsError, match=message):
        optimize("model.keras", (pixels, labels), (pixels, labels), settings, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_dictionaries_of_arrays_are_read_as_several_inputs_and_outputs(tmp_path: Path) -> None:
    images = {"camera": np.ones((4, 8, 8, 1), np.uint8), "table": np.zeros((4, 3), np.float32)}
    labels = {"kind": np.array([0, 1, 0, 1]), "size": np.arange(4.0)}
    file = tmp_path / "images.npz"
    file.write_bytes(_archive((images, labels), (images, labels)))
    found = npz.read_part(file, "test", 1)
    for name, each in images.items():
        np.testing.assert_array_equal(found.images[name], each)
    for name, each in labels.items():
        np.testing.assert_array_equal(found.labels[name], each)
