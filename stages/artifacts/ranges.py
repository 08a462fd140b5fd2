"""Activation ranges: what calibration and training found, and the file that carries it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.engines.registry import Target
from stages.errors import ConversionError
from stages.numerics.qparams import E4M3, INT8, Grid, activation_scale, asymmetric_grid

FILE = "ranges.json"


@dataclass(frozen=True)
class Range:
    """low <= x <= high for the values of one tensor; `saturated_share` of those seen lay outside.

    Zero is part of every range: low <= 0 <= high, and low < high.
    """

    low: float
    high: float
    saturated_share: float = 0.0

    def grid(self, target: Target) -> Grid:
        """TensorRT takes symmetric INT8 or E4M3; CPU engines have a zero point for each tensor."""
        if target == "fp8":
            return E4M3
        # Not only for the finer steps: ONNX Runtime fuses ReLU and quantizer only where the grid
        # starts at zero. On another one the convolution stays float.
        return INT8 if target == "tensorrt" else asymmetric_grid(self.low, self.high)

    def scale(self, target: Target) -> float:
        """Scale on the grid of `target`, a float16 value so that FP16 graphs hold it exactly."""
        return float(np.float16(activation_scale(self.low, self.high, self.grid(target))))

    def limits(self, target: Target) -> tuple[float, float]:
        """Smallest and largest value that the grid of `target` can represent."""
        grid, scale = self.grid(target), self.scale(target)
        return grid.low * scale, grid.high * scale


def covering(values: NDArray[np.float32]) -> Range:
    """The range of all of `values`, a tensor of any shape; a dead one gets 0 to 1e-6."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    return Range(low, high if high - low > 1e-6 else low + 1e-6)


def write(ranges: Mapping[str, Range | None], folder: Path) -> None:
    """Write `ranges.json` into `folder`; None marks a tensor that is left in float."""
    content = {
        name: None if found is None else dataclasses.asdict(found) for name, found in ranges.items()
    }
    (folder / FILE).write_text(json.dumps(content, indent=2) + "\n")


def read(folder: Path, names: Iterable[str]) -> dict[str, Range]:
    """The ranges in `ranges.json`, without the tensors that are left in float.

    Raises ConversionError if it is no such file, was written before ranges had two ends, or says
    nothing of one of `names`.
    """
    hint = "run: pipeline run quantize"
    try:
        content = json.loads((folder / FILE).read_text())
        found = {name: entry and _range(**entry) for name, entry in content.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ConversionError(
            f"{FILE} is not a file of activation ranges: {error}", hint
        ) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise ConversionError(f"{FILE} has no range for {missing[0]!r}", hint)
    return {name: entry for name, entry in found.items() if entry is not None}


def _range(**entry: float) -> Range:
    """Raises ValueError or TypeError unless `entry` describes a range."""
    if "amax" in entry:
        raise ValueError("it is of an earlier version, with 'amax' instead of 'low' and 'high'")
    found = Range(**entry)
    if not (-math.inf < found.low <= 0 <= found.high < math.inf and found.low < found.high):
        raise ValueError(f"{found.low} to {found.high} is no range around zero")
    return found
