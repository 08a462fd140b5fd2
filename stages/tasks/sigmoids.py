"""Outputs that are judged one by one: a sigmoid each, and a threshold each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.tasks.base import Difference, Outputs, Targets


def probabilities(outputs: Outputs, signature: Signature) -> NDArray[np.float64]:
    """Outputs (N, values) as probabilities, of logits by a sigmoid."""
    wide = outputs.astype(np.float64)
    if signature.returns_probabilities:
        return wide
    # The half tangent of half: no overflow on either side.
    found: NDArray[np.float64] = 0.5 + 0.5 * np.tanh(0.5 * wide)
    return found


def cross_entropy(outputs: Outputs, targets: Targets, signature: Signature) -> float:
    """Mean of `cross_entropies`."""
    return float(np.mean(cross_entropies(outputs, targets, signature)))


def cross_entropies(
    outputs: Outputs, targets: Targets, signature: Signature
) -> NDArray[np.float64]:
    """-log p of what is right, of outputs and targets (N, values), in nats: (N, values).

    p is at least 1e-7.
    """
    yes = probabilities(outputs, signature)
    right = np.where(targets > 0, yes, 1 - yes)
    return np.asarray(-np.log(np.maximum(right, 1e-7)), np.float64)


def thresholds_of(signature: Signature) -> tuple[float, ...]:
    """Of every value; 0.5 where none is chosen yet."""
    return signature.thresholds or (0.5,) * signature.shape_of_output[-1]


def decided(outputs: Outputs, signature: Signature) -> NDArray[np.bool_]:
    """Which values (N, values) are a yes: a probability of at least its threshold."""
    found: NDArray[np.bool_] = probabilities(outputs, signature) >= thresholds_of(signature)
    return found


def agreement(expected: Outputs, got: Outputs, signature: Signature) -> float:
    """Share of values on the same side of the threshold."""
    return float(np.mean(decided(expected, signature) == decided(got, signature)))


def unexplained(
    expected: Outputs, got: Outputs, difference: Difference, signature: Signature
) -> int:
    """Images with a value on the other side of its threshold although it was further from it."""
    return int(np.any(changed_sides(expected, got, difference, signature), axis=1).sum())


def limits_of(signature: Signature) -> NDArray[np.float64]:
    """The thresholds in what the network returns, of logits as logits: float64 (values,)."""
    limits = np.asarray(thresholds_of(signature), np.float64)
    return limits if signature.returns_probabilities else np.log(limits) - np.log1p(-limits)


def changed_sides(
    expected: Outputs, got: Outputs, difference: Difference, signature: Signature
) -> NDArray[np.bool_]:
    """Which values crossed their threshold although they were further than `difference` from it.

    (N, values) twice, in what the network returns; one that is not finite has always crossed.
    """
    limits = limits_of(signature)
    before, after = expected >= limits, got >= limits
    has_to_stay = np.abs(expected - limits) > difference
    found: NDArray[Any] = ~np.isfinite(got) | ((before != after) & has_to_stay)
    return found
