"""What a model expects and returns: the small file that travels with every artifact."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = "signature.json"


@dataclass(frozen=True)
class Signature:
    """Input and output of a classifier.

    `input_shape` is one image without the batch, as in (28, 28, 1) with layout "HWC";
    the model sees `pixel * scale + offset` as `dtype`, and returns one logit per class.
    """

    input_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    scale: float
    offset: float
    input_name: str = "image"
    output_name: str = "logits"
    layout: str = "NHWC"
    dtype: str = "float32"

    def preprocess(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pixels to model input: uint8 (N, H, W, C) -> float32 (N, H, W, C)."""
        pixels = images.astype(np.float32)
        pixels *= np.float32(self.scale)
        pixels += np.float32(self.offset)
        return pixels

    @property
    def is_signed(self) -> bool:
        """Whether a preprocessed pixel can be negative."""
        return min(self.offset, 255 * self.scale + self.offset) < 0

    def write(self, folder: Path) -> None:
        """Write `signature.json` into `folder`."""
        (folder / FILE).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Signature:
        """Read `signature.json` from `folder`."""
        raw = json.loads((folder / FILE).read_text())
        raw["input_shape"] = tuple(raw["input_shape"])
        raw["class_names"] = tuple(raw["class_names"])
        return cls(**raw)
