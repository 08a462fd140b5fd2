"""The parity ladder: from Keras float to the engines, each rung compared with the one it copies.

    keras float
      ├── float32 and float16 graphs and engines
      └── keras fake-quantized, rounding as a target does
            └── that target's INT8 graph and engines

A rung says against what it was compared, how far apart the two are, and whether that is
within what its arithmetic explains. The first that is not is where something broke.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.engines.registry import ENGINES, Target
from stages.numerics.parity import compare

Logits = NDArray[np.float32]

KERAS_FLOAT = "keras float"
FLOAT16_RELATIVE = 1e-2
"""Largest difference that rounding to 11 bits in every layer explains, of the largest output."""
RIGHT_OF_QUANTIZATION = 0.02
"""Share of right answers that quantizing a model may lose, less those that it wins: trained
with rounding it is another model, and where the float model guesses, many labels change."""
LABELS_OF_INTEGERS, LABELS_OF_HALVES = 0.001, 0.02
"""Share of labels that may change by computing in integers, and with float16 between them: one
step more or less in a deep network becomes many further on."""

HALVES = ("model.int8.tensorrt.onnx", "tensorrt.int8", "tensorrt_rtx.int8")


def fake_quantized(target: Target) -> str:
    """Name of the rung that simulates `target` in Keras."""
    return f"keras fake-quantized for {target}"


def reference(backend: str, precision: str) -> str:
    """The rung that an engine is compared with."""
    return fake_quantized(ENGINES[backend].rounding) if precision == "int8" else KERAS_FLOAT


def simulation(
    name: str, expected: Logits, got: Logits, labels: NDArray[np.int64]
) -> dict[str, Any]:
    """Compare what Keras simulates with Keras float, both (N, classes), labels (N,).

    It holds if it has at most 2 % (or one image) fewer right answers.
    """
    found = compare(expected, got)
    lost = int(np.sum(expected.argmax(axis=1) == labels) - np.sum(got.argmax(axis=1) == labels))
    holds = lost <= max(1, RIGHT_OF_QUANTIZATION * len(labels))
    return {"rung": name, "against": KERAS_FLOAT, **found, "holds": holds}


def rung(
    name: str, against: str, expected: Logits, got: Logits, float32_relative: float = 1e-4
) -> dict[str, Any]:
    """Compare the logits of rung `name` with those of rung `against`, both (N, classes).

    The names decide what is allowed: integers may change 0.1 % of the labels (or one), with
    float16 between them 2 %; float16 alone may differ by 1 % of the largest output, and
    float32 by `float32_relative`.
    """
    found = compare(expected, got)
    changed = round((1 - found["top1_agreement"]) * found["samples"])
    if against != KERAS_FLOAT:
        share = LABELS_OF_HALVES if name in HALVES else LABELS_OF_INTEGERS
        holds = changed <= max(1, share * found["samples"])
    else:
        limit = FLOAT16_RELATIVE if "fp16" in name else float32_relative
        holds = found["max_relative_difference"] <= limit
    return {"rung": name, "against": against, **found, "holds": bool(holds)}


def first_break(rungs: Sequence[Mapping[str, Any]]) -> str | None:
    """Name of the first rung that does not hold."""
    return next((str(found["rung"]) for found in rungs if not found["holds"]), None)
