"""Parity checks from Keras float to the engines, each against what its model was made of.

    keras float
      ├── float32 and float16 graphs and engines
      └── keras fake-quantized, rounding as a target does
            └── that target's INT8 graph and engines

A check says how far apart the two are, and whether that is within what the arithmetic explains.
The first that does not pass is where something broke.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.engines.registry import ENGINES, EngineName, Target
from stages.numerics.parity import Logits, compare
from stages.results.conversion import ParityCheck

KERAS_FLOAT = "keras float"
FLOAT32_RELATIVE, FLOAT16_RELATIVE = 1e-4, 1e-2
"""Largest difference, as a share of the largest logit, that rounding in every layer explains."""
MAX_ACCURACY_LOSS = 0.02
"""Accuracy that quantization may cost, as a share. Labels are not compared one by one: trained
with rounding it is another model, and where the float model guesses, many labels change."""
LABELS_OF_INTEGERS, LABELS_WITH_FLOAT16 = 0.001, 0.02
"""Share of labels that may change by computing in integers, and with float16 between them: one
step more or less in a deep network becomes many further on."""


def fake_quantized(target: Target) -> str:
    """Name of the Keras model that simulates the rounding of `target`."""
    return f"keras fake-quantized for {target}"


def reference(engine: EngineName) -> str:
    """Name of the Keras model that an engine is compared with."""
    if engine.precision != "int8":
        return KERAS_FLOAT
    return fake_quantized(ENGINES[engine.backend].rounding)


def simulation(name: str, expected: Logits, got: Logits, labels: NDArray[np.int64]) -> ParityCheck:
    """Check a Keras simulation against Keras float, both (N, classes), with labels (N,).

    It passes if it has at most 2 % (or one image) fewer right answers.
    """
    lost = int(np.sum(expected.argmax(axis=1) == labels) - np.sum(got.argmax(axis=1) == labels))
    passed = lost <= max(1, MAX_ACCURACY_LOSS * len(labels))
    found = compare(expected, got)
    return ParityCheck(name=name, against=KERAS_FLOAT, passed=passed, **dict(found))


def check(
    name: str,
    against: str,
    expected: Logits,
    got: Logits,
    *,
    has_float16: bool = False,
    float32_relative: float = FLOAT32_RELATIVE,
) -> ParityCheck:
    """Check the logits of `name` against those of the Keras model `against`, both (N, classes).

    Against Keras float, logits may differ by `float32_relative` of the largest one, or by 1 % where
    float16 is involved. Against a simulation 0.1 % of the labels (or one) may change, with float16
    between the integers 2 %.
    """
    found = compare(expected, got)
    # Logits against float, labels against a simulation: a value that integers round the other way
    # moves a logit by a whole step, which says nothing of whether the graph is right.
    if against == KERAS_FLOAT:
        limit = FLOAT16_RELATIVE if has_float16 else float32_relative
        passed = (found.max_relative_difference or 0.0) <= limit
    else:
        share = LABELS_WITH_FLOAT16 if has_float16 else LABELS_OF_INTEGERS
        changed = round((1 - found.top1_agreement) * found.samples)
        passed = changed <= max(1, share * found.samples)
    return ParityCheck(name=name, against=against, passed=passed, **dict(found))


def engine_check(engine: EngineName, expected: Logits, got: Logits) -> ParityCheck:
    """Check an engine's logits against those of its `reference`, both (N, classes)."""
    rounding = ENGINES[engine.backend].rounding
    # The float rest of TensorRT's INT8 graphs is float16.
    has_float16 = engine.precision == "fp16" or (
        engine.precision == "int8" and rounding == "tensorrt"
    )
    return check(str(engine), reference(engine), expected, got, has_float16=has_float16)


def first_mismatch(checks: Iterable[ParityCheck]) -> str | None:
    """Name of the first check that did not pass."""
    return next((each.name for each in checks if not each.passed), None)
