"""What predict.py says of yes or no."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def yes_probability(outputs: NDArray[np.float32], info: dict[str, Any]) -> NDArray[np.float64]:
    """Of a yes: of logits the sigmoid."""
    wide = outputs[..., 0].astype(np.float64)
    return wide if info["kind"] == "probabilities" else 0.5 + 0.5 * np.tanh(0.5 * wide)


def answer_binary(outputs: NDArray[np.float32], info: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The decision, which is one of two classes: a line, and cells by column."""
    share, (threshold,), (no, yes) = (
        yes_probability(outputs, info),
        info["thresholds"],
        info["classes"],
    )
    name = yes if share >= threshold else no
    words = f"{name}, probability of {yes} {share:.1%}, threshold {threshold:.1%}"
    return words, {"class": name, "probability": f"{share:.6f}"}


def compare_binary(
    found: NDArray[np.float32], expected: NDArray[np.float32], info: dict[str, Any]
) -> tuple[str, bool]:
    """What of two times (N, 1) is the same, and whether that is enough."""
    decisions = (yes_probability(each, info) >= info["thresholds"][0] for each in (found, expected))
    same = int(np.equal(*decisions).sum())
    return f"{same} of {len(found)} samples have the decision expected", same == len(found)
