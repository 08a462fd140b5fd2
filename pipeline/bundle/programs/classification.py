"""What predict.py says of one class of several."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def class_shares(outputs: NDArray[np.float32], info: dict[str, Any]) -> NDArray[np.float32]:
    """Shares of 1 of the outputs (classes,): of logits the softmax."""
    if info["kind"] == "probabilities":
        return outputs
    powers: NDArray[np.float32] = np.exp(outputs - outputs.max())
    shares: NDArray[np.float32] = powers / powers.sum()
    return shares


def answer_classification(
    outputs: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The three most likely classes: a line, and cells by column."""
    shares = class_shares(outputs, info)
    best = [(info["classes"][i], shares[i]) for i in np.argsort(-shares, kind="stable")[:3]]
    cells: dict[str, Any] = {}
    for rank, (name, share) in enumerate(best, 1):
        cells |= {f"class_{rank}": name, f"probability_{rank}": f"{share:.6f}"}
    return ", ".join(f"{name} {share:.1%}" for name, share in best), cells


def compare_classification(
    found: NDArray[np.float32], expected: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, bool]:
    """What of two times (N, classes) is the same, and whether that is enough."""
    same = int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())
    return f"{same} of {len(found)} samples have the class expected", same == len(found)
