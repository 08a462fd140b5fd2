"""Converts into a graph whose outputs are not those of Keras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.results.conversion import ConvertDetails, ConvertResult, ParityCheck


def run(settings: Any, inputs: Mapping[str, Path], out: Path) -> ConvertResult:
    (out / "model.onnx").write_bytes(b"\0")
    check = ParityCheck(
        name="model.onnx",
        against="keras float",
        samples=100,
        top1_agreement=0.5,
        max_absolute_difference=3.0,
        mean_absolute_difference=1.0,
        passed=False,
    )
    return ConvertResult(details=ConvertDetails(parity_checks=(check,)))
