from __future__ import annotations

import numpy as np
import pytest

from stages.engines.registry import EngineName
from stages.measurement import parity
from stages.measurement.parity import KERAS_FLOAT, fake_quantized

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (1000, 10)).astype(np.float32)


def with_other_labels(count: int) -> np.ndarray:
    changed = LOGITS.copy()
    changed[:count] = -changed[:count]
    return changed


@pytest.mark.parametrize(
    ("against", "has_float16", "changed", "passed"),
    [
        (fake_quantized("cpu"), False, 1, True),
        (fake_quantized("cpu"), False, 2, False),
        (fake_quantized("tensorrt"), True, 20, True),
        (fake_quantized("tensorrt"), True, 21, False),
        (KERAS_FLOAT, False, 1, False),
    ],
)
def test_as_many_labels_may_change_as_the_arithmetic_explains(
    against, has_float16, changed, passed
):
    got = with_other_labels(changed)
    found = parity.check("model", against, LOGITS, got, has_float16=has_float16)
    assert found.passed is passed


@pytest.mark.parametrize(
    ("engine", "changed", "passed"),
    [
        ("onnxruntime.int8", 2, False),
        ("litert.int8", 2, False),
        ("tensorrt.int8", 20, True),
        ("tensorrt_rtx.int8", 20, True),
        ("tensorrt_rtx.int8", 21, False),
    ],
)
def test_an_int8_engine_with_a_float16_rest_may_change_more_labels(engine, changed, passed):
    found = parity.engine_check(EngineName.parse(engine), LOGITS, with_other_labels(changed))
    assert (found.name, found.passed) == (engine, passed)


@pytest.mark.parametrize(("lost", "won", "passed"), [(20, 0, True), (21, 0, False), (50, 30, True)])
def test_a_simulation_may_change_labels_but_lose_few_right_ones(lost, won, passed):
    labels = LOGITS.argmax(axis=1)
    labels[:won] = (-LOGITS[:won]).argmax(axis=1)
    got = with_other_labels(won + lost)
    found = parity.simulation(fake_quantized("cpu"), LOGITS, got, labels)
    assert found.passed is passed
    assert found.top1_agreement == pytest.approx(1 - (won + lost) / 1000)


@pytest.mark.parametrize(
    ("engine", "relative", "passed"),
    [
        ("onnxruntime.fp32", 5e-5, True),
        ("onnxruntime.fp32", 5e-4, False),
        ("tensorrt.fp16", 5e-3, True),
        ("tensorrt.fp16", 5e-2, False),
    ],
)
def test_a_float_engine_may_differ_as_far_as_its_precision_explains(engine, relative, passed):
    moved = LOGITS + np.float32(relative * np.abs(LOGITS).max())
    assert parity.engine_check(EngineName.parse(engine), LOGITS, moved).passed is passed


def test_outputs_that_are_not_finite_never_pass():
    broken = LOGITS.copy()
    broken[0, 0] = np.nan
    assert not parity.check("model.fp32.onnx", KERAS_FLOAT, LOGITS, broken).passed


def test_the_first_check_that_does_not_pass_is_named():
    good = parity.check("model.fp32.onnx", KERAS_FLOAT, LOGITS, LOGITS)
    bad = parity.check("model.fp16.onnx", KERAS_FLOAT, LOGITS, -LOGITS)
    assert parity.first_mismatch([good, good]) is None
    assert parity.first_mismatch([good, bad, bad]) == "model.fp16.onnx"


def test_an_engine_is_compared_with_the_rounding_that_it_has():
    references = {
        "onnxruntime.fp32": KERAS_FLOAT,
        "onnxruntime.int8": fake_quantized("cpu"),
        "litert.int8": fake_quantized("litert"),
        "tensorrt_rtx.int8": fake_quantized("tensorrt"),
    }
    assert {name: parity.reference(EngineName.parse(name)) for name in references} == references
