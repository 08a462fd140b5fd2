"""Activation ranges: what calibration and training found, and the file that carries it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.engines.registry import Target
from stages.errors import ConversionError
from stages.numerics.qparams import INT8, UINT8, Grid, activation_scale

FILE = "ranges.json"


@dataclass(frozen=True)
class Range:
    """|x| <= amax for the values of one tensor; `saturated_share` of those seen lay outside."""

    amax: float
    signed: bool
    saturated_share: float = 0.0

    def grid(self, target: Target) -> Grid:
        """TensorRT takes signed INT8 only; CPU engines use 256 steps where nothing is negative."""
        # Not only for the finer steps: ONNX Runtime fuses ReLU and quantizer only where the grid
        # starts at zero. On a signed one the convolution stays float.
        return INT8 if self.signed or target == "tensorrt" else UINT8

    def scale(self, target: Target) -> float:
        """Scale on the grid of `target`, a float16 value so that FP16 graphs hold it exactly."""
        return float(np.float16(activation_scale(self.amax, self.grid(target))))

    def limits(self, target: Target) -> tuple[float, float]:
        """Smallest and largest value that the grid of `target` can represent."""
        grid, scale = self.grid(target), self.scale(target)
        return grid.low * scale, grid.high * scale


def write(ranges: Mapping[str, Range | None], folder: Path) -> None:
    """Write `ranges.json` into `folder`; None marks a tensor that is left in float."""
    content = {
        name: None if found is None else dataclasses.asdict(found) for name, found in ranges.items()
    }
    (folder / FILE).write_text(json.dumps(content, indent=2) + "\n")


def read(folder: Path, names: Iterable[str]) -> dict[str, Range]:
    """The ranges in `ranges.json`, without the tensors that are left in float.

    Raises ConversionError if it is no such file, or says nothing of one of `names`.
    """
    hint = "run: pipeline run quantize"
    try:
        content = json.loads((folder / FILE).read_text())
        found = {name: entry and Range(**entry) for name, entry in content.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ConversionError(
            f"{FILE} is not a file of activation ranges: {error}", hint
        ) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise ConversionError(f"{FILE} has no range for {missing[0]!r}", hint)
    return {name: entry for name, entry in found.items() if entry is not None}
