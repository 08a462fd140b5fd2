"""Parity checks from Keras float to the engines, each against what its model was made of.

    keras float
      ├── float32 and float16 graphs and engines
      └── keras fake-quantized, rounding as a target does
            └── that target's INT8 graph and engines

A check says how far apart the two are, and whether that is within what the arithmetic explains.
The first that does not pass is where something broke. Whether a network is sure of its answers
must not decide (decision 23): integers are judged layer by layer where that is possible
(conversion/layer_parity.py), and labels only where no rounding could have changed them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines.registry import ENGINES, QUANTIZED, EngineName, Target
from stages.numerics import proportions
from stages.numerics.parity import Logits, compare
from stages.results.conversion import LayerParity, LogitDifference, ParityCheck
from stages.tasks import base as tasks
from stages.tasks.base import Answers, Difference, Targets

KERAS_FLOAT = "keras float"
FLOAT32_RELATIVE, FLOAT16_RELATIVE, BFLOAT16_RELATIVE = 1e-4, 1e-2, 8e-2
"""Largest difference, as a share of the largest logit, that rounding in every layer explains;
bfloat16 has three binary places fewer than float16."""
RELATIVE = {"fp32": FLOAT32_RELATIVE, "fp16": FLOAT16_RELATIVE, "bf16": BFLOAT16_RELATIVE}
TF32_RELATIVE = 1e-3
"""Of float32 where products may use TF32: simulated, 2.3e-4 to 4.7e-4 were seen."""
MAX_ACCURACY_LOSS = 0.02
"""Accuracy that quantization may cost, as a share. Labels are not compared one by one: trained
with rounding it is another model, and where the float model guesses, many labels change."""


def fake_quantized(target: Target) -> str:
    """Name of the Keras model that simulates the rounding of `target`."""
    return f"keras fake-quantized for {target}"


def explained(against: str) -> str:
    """Name, among the samples, of the largest difference of a logit that rounding explains."""
    return f"explained: {against}"


def reference(engine: EngineName) -> str:
    """Name of the Keras model that an engine is compared with."""
    if engine.precision == "fp8":
        return fake_quantized("fp8")
    if engine.precision != "int8":
        return KERAS_FLOAT
    return fake_quantized(ENGINES[engine.backend].rounding)


def _of_worst(
    check: Callable[..., ParityCheck], signature: Signature, *compared: Any
) -> ParityCheck:
    """`check(signature, *compared)`; of several outputs that of the one that is furthest off, which
    passes only if all do. Each is called with its own signature and fields.
    """
    if not signature.heads:
        return check(signature, *compared)
    checks = [
        check(own, *(each[own.output_name] for each in compared)).model_copy(
            update={"output": own.output_name}
        )
        for own in signature.each
    ]
    return max(checks, key=_badness)


def _badness(check: ParityCheck) -> tuple[bool, int, float]:
    apart = check.max_relative_difference or 0.0
    return not check.passed, check.unexplained_labels or 0, math.inf if math.isnan(apart) else apart


def simulation(
    name: str, expected: Logits, got: Logits, labels: Targets, signature: Signature
) -> ParityCheck:
    """Check a Keras simulation against Keras float, both (N, ...), with labels (N, ...).

    It passes unless it has over 2 % fewer right answers, or loses as much of the metric of another
    task, with 95 % confidence: a network that guesses wins and loses right answers by chance.
    """
    found = _of_worst(partial(_simulation, name), signature, expected, got, labels)
    if not (signature.heads and signature.metric):
        return found
    # What decides is a metric of the user's, of all outputs together.
    return found.model_copy(
        update={"passed": found.passed and _is_kept(signature, expected, got, labels)}
    )


def _simulation(
    name: str, signature: Signature, expected: Logits, got: Logits, labels: Targets
) -> ParityCheck:
    passed = _is_kept(signature, expected, got, labels)
    found = _compare(expected, got, signature)
    return ParityCheck(name=name, against=KERAS_FLOAT, passed=passed, **dict(found))


def _is_kept(signature: Signature, expected: Logits, got: Logits, labels: Targets) -> bool:
    before, after = (Answers.of(each, labels, signature) for each in (expected, got))
    change = before.change_to(after) or proportions.of_counts(before.errors == 0, after.errors == 0)
    return change.high >= -MAX_ACCURACY_LOSS


def _compare(expected: Logits, got: Logits, signature: Signature) -> LogitDifference:
    found = compare(expected, got, tasks.of(signature.task).agreement(expected, got, signature))
    if signature.task != "regression":
        return found
    # Each number has a unit of its own: an angle must not hide behind a price.
    columns = [compare(expected[:, at : at + 1], got[:, at : at + 1], 1.0)
               for at in range(expected.shape[1])]  # fmt: skip
    # Of NumPy, whose maximum of NaN and a number is NaN.
    largest = float(np.max([each.max_relative_difference for each in columns]))
    return found.model_copy(update={"max_relative_difference": largest})


def check_float(
    name: str,
    expected: Logits,
    got: Logits,
    signature: Signature,
    relative: float = FLOAT32_RELATIVE,
) -> ParityCheck:
    """Check the outputs of `name` against those of Keras float, both (N, ...).

    They may differ by `relative` of the largest one.
    """
    return _of_worst(partial(_float, name, relative), signature, expected, got)


def _float(
    name: str, relative: float, signature: Signature, expected: Logits, got: Logits
) -> ParityCheck:
    found = _compare(expected, got, signature)
    passed = (found.max_relative_difference or 0.0) <= relative
    return ParityCheck(name=name, against=KERAS_FLOAT, passed=passed, **dict(found))


def check_int8(
    name: str,
    against: str,
    expected: Logits,
    got: Logits,
    explained_difference: Difference,
    signature: Signature,
) -> ParityCheck:
    """Check the outputs of `name` against those of the simulation `against`, both (N, ...).

    An answer may change only where rounding explains it: a label where the largest and the second
    of the expected logits are so close that a difference of `explained_difference` of each
    exchanges them. What counts for other tasks say their `unexplained`. The check shows the largest
    of the differences. For several outputs there is a field of them for each.
    """
    check = partial(_int8, name, against)
    return _of_worst(check, signature, expected, got, explained_difference)


def _int8(
    name: str,
    against: str,
    signature: Signature,
    expected: Logits,
    got: Logits,
    explained: Difference,
) -> ParityCheck:
    changed = tasks.of(signature.task).unexplained(expected, got, explained, signature)
    return ParityCheck(
        name=name,
        against=against,
        passed=changed == 0,
        explained_difference=float(np.max(explained)),
        unexplained_labels=changed,
        **dict(_compare(expected, got, signature)),
    )


def engine_check(
    engine: EngineName,
    expected: Logits,
    got: Logits,
    explained_difference: Difference,
    signature: Signature,
    tf32: bool = False,
) -> ParityCheck:
    """Check an engine's outputs against those of its `reference`, both (N, ...).

    `explained_difference` is of quantized engines only, `tf32` of those on a GPU.
    """
    name, against = str(engine), reference(engine)
    if engine.precision in QUANTIZED:
        return check_int8(name, against, expected, got, explained_difference, signature)
    return check_float(name, expected, got, signature, relative_limit(engine, tf32))


def relative_limit(engine: EngineName, tf32: bool) -> float:
    """The largest difference that rounding explains in an engine that is not quantized, as a share
    of the largest value; `tf32` is of float32 engines on a GPU."""
    is_tf32 = tf32 and engine.precision == "fp32" and ENGINES[engine.backend].device == "gpu"
    return TF32_RELATIVE if is_tf32 else RELATIVE[engine.precision]


def first_mismatch(checks: Iterable[ParityCheck], layers: Iterable[LayerParity] = ()) -> str | None:
    """What was compared in the first check that did not pass; layers before outputs."""
    by_layer = (f"{each.name}: {each.worst_point}" for each in layers if not each.passes)
    by_output = (
        f"{each.name}: {each.output}" if each.output else each.name
        for each in checks
        if not each.passed
    )
    return next(chain(by_layer, by_output), None)
