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

from stages.numerics.parity import compare
from stages.ranges import Target

Logits = NDArray[np.float32]

KERAS_FLOAT = "keras float"
FLOAT16_RELATIVE = 1e-2
"""Largest difference that rounding to 11 bits in every layer explains, of the largest output."""
LABELS_OF_QUANTIZATION, LABELS_OF_INTEGERS = 0.02, 0.001
"""Share of labels that may change: by quantizing a model, and by computing it in integers."""

TARGETS: dict[str, Target] = {
    "onnxruntime": "cpu",
    "openvino": "cpu",
    "litert": "litert",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt",
}
"""Backend -> whose rounding its INT8 engine has."""


def fake_quantized(target: Target) -> str:
    """Name of the rung that simulates `target` in Keras."""
    return f"keras fake-quantized for {target}"


def reference(backend: str, precision: str) -> str:
    """The rung that an engine is compared with."""
    return fake_quantized(TARGETS[backend]) if precision == "int8" else KERAS_FLOAT


def rung(
    name: str, against: str, expected: Logits, got: Logits, float32_relative: float = 1e-4
) -> dict[str, Any]:
    """Compare the logits of rung `name` with those of rung `against`, both (N, classes).

    The names decide what is allowed: a simulation may change 2 % of the labels, integers
    0.1 % (or one image), float16 1 % of the largest output and float32 `float32_relative`.
    """
    found = compare(expected, got)
    changed = round((1 - found["top1_agreement"]) * found["samples"])
    if against != KERAS_FLOAT:
        holds = changed <= max(1, LABELS_OF_INTEGERS * found["samples"])
    elif name.startswith("keras"):
        holds = changed <= max(1, LABELS_OF_QUANTIZATION * found["samples"])
    else:
        limit = FLOAT16_RELATIVE if "fp16" in name else float32_relative
        holds = found["max_relative_difference"] <= limit
    return {"rung": name, "against": against, **found, "holds": bool(holds)}


def first_break(rungs: Sequence[Mapping[str, Any]]) -> str | None:
    """Name of the first rung that does not hold."""
    return next((str(found["rung"]) for found in rungs if not found["holds"]), None)
