"""The programs in examples/, as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import pipeline
from tests.conftest import ROOT


def test_a_program_optimizes_a_model_and_uses_its_engine(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "optimize.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (percent,) = re.findall(r"^([\d.]+)% of 397 images are right$", done.stdout, re.MULTILINE)
    assert float(percent) > 80
    with pipeline.load(tmp_path / "digits") as engine:
        assert engine.info.engine.backend == "litert"
        measured = engine.info.measured
    assert measured is not None
    assert measured.accuracy.top1 * 100 == pytest.approx(float(percent), abs=0.06)
