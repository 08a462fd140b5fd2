"""What predict.py says of every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def mask(outputs: NDArray[np.float32], info: dict[str, Any]) -> NDArray[np.uint8]:
    """The number of the class of each pixel: (..., classes) -> uint8 (...)."""
    if outputs.shape[-1] > 1:
        return np.asarray(outputs.argmax(axis=-1), np.uint8)
    wide = outputs[..., 0].astype(np.float64)
    shares = wide if info["kind"] == "probabilities" else 0.5 + 0.5 * np.tanh(0.5 * wide)
    return np.asarray(shares >= info["thresholds"][0], np.uint8)


def answer_segmentation(
    outputs: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """How much of the image is of which class: a line, and cells by column, the mask among them."""
    pixels, names = mask(outputs, info), info["classes"]
    shares = np.bincount(pixels.ravel(), minlength=len(names)) / pixels.size
    there = [i for i in np.argsort(-shares, kind="stable") if shares[i]]
    words = ", ".join(f"{names[i]} {shares[i]:.1%}" for i in there)
    return words, {
        "mask_file": Image.fromarray(pixels),
        **{n: f"{s:.6f}" for n, s in zip(names, shares, strict=True)},
    }


def compare_segmentation(
    found: NDArray[np.float32], expected: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, bool]:
    """What of two times (N, H, W, classes) is the same, and whether that is enough: see `check`."""
    share = np.mean(mask(found, info) == mask(expected, info))
    return f"{share:.2%} of the pixels have the class expected", True
