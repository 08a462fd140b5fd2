"""What predict.py says of any number of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def label_probabilities(outputs: NDArray[np.float32], info: dict[str, Any]) -> NDArray[np.float64]:
    """Of each label (..., labels): of logits the sigmoid."""
    wide = outputs.astype(np.float64)
    return wide if info["kind"] == "probabilities" else 0.5 + 0.5 * np.tanh(0.5 * wide)


def answer_multilabel(
    outputs: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The labels at or above their thresholds: a line, and cells by column."""
    shares, there = label_probabilities(outputs, info), {}
    cells: dict[str, Any] = {}
    for name, share, threshold in zip(info["classes"], shares, info["thresholds"], strict=True):
        if share >= threshold:
            there[name] = share
        cells |= {name: int(share >= threshold), f"{name}_probability": f"{share:.6f}"}
    best = sorted(there, key=lambda name: -there[name])
    words = ", ".join(f"{name} {there[name]:.1%}" for name in best)
    return words or f"none of {len(shares)} labels", cells


def compare_multilabel(
    found: NDArray[np.float32], expected: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, bool]:
    """What of two times (N, labels) is the same, and whether that is enough."""
    decisions = (
        label_probabilities(each, info) >= info["thresholds"] for each in (found, expected)
    )
    same = int(np.equal(*decisions).all(axis=1).sum())
    return f"{same} of {len(found)} samples have the labels expected", same == len(found)
