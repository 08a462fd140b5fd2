from __future__ import annotations

import numpy as np
import pytest

from stages.measurement import parity
from stages.measurement.parity import KERAS_FLOAT, fake_quantized

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (1000, 10)).astype(np.float32)


def with_other_labels(count: int) -> np.ndarray:
    changed = LOGITS.copy()
    changed[:count] = -changed[:count]
    return changed


@pytest.mark.parametrize(
    ("name", "against", "changed", "holds"),
    [
        ("model.int8.cpu.onnx", fake_quantized("cpu"), 1, True),
        ("model.int8.cpu.onnx", fake_quantized("cpu"), 2, False),
        ("model.int8.tensorrt.onnx", fake_quantized("tensorrt"), 20, True),
        ("tensorrt_rtx.int8", fake_quantized("tensorrt"), 21, False),
        ("model.fp32.onnx", KERAS_FLOAT, 1, False),
    ],
)
def test_a_rung_may_change_as_many_labels_as_its_arithmetic_explains(name, against, changed, holds):
    assert parity.rung(name, against, LOGITS, with_other_labels(changed))["holds"] is holds


@pytest.mark.parametrize(("lost", "won", "holds"), [(20, 0, True), (21, 0, False), (50, 30, True)])
def test_a_simulation_may_change_labels_but_lose_few_right_ones(lost, won, holds):
    labels = LOGITS.argmax(axis=1)
    labels[:won] = (-LOGITS[:won]).argmax(axis=1)
    got = with_other_labels(won + lost)
    found = parity.simulation(fake_quantized("cpu"), LOGITS, got, labels)
    assert found["holds"] is holds
    assert found["top1_agreement"] == pytest.approx(1 - (won + lost) / 1000)


@pytest.mark.parametrize(
    ("name", "relative", "holds"),
    [
        ("model.fp32.onnx", 5e-5, True),
        ("model.fp32.onnx", 5e-4, False),
        ("tensorrt.fp16", 5e-3, True),
        ("tensorrt.fp16", 5e-2, False),
    ],
)
def test_a_float_rung_may_differ_as_far_as_its_precision_explains(name, relative, holds):
    moved = LOGITS + np.float32(relative * np.abs(LOGITS).max())
    assert parity.rung(name, KERAS_FLOAT, LOGITS, moved)["holds"] is holds


def test_the_first_rung_that_breaks_is_named():
    good = parity.rung("model.fp32.onnx", KERAS_FLOAT, LOGITS, LOGITS)
    bad = parity.rung("model.fp16.onnx", KERAS_FLOAT, LOGITS, -LOGITS)
    assert parity.first_break([good, good]) is None
    assert parity.first_break([good, bad, bad]) == "model.fp16.onnx"


def test_an_engine_is_compared_with_the_rounding_that_it_has():
    assert parity.reference("onnxruntime", "fp32") == KERAS_FLOAT
    assert parity.reference("onnxruntime", "int8") == fake_quantized("cpu")
    assert parity.reference("litert", "int8") == fake_quantized("litert")
    assert parity.reference("tensorrt_rtx", "int8") == fake_quantized("tensorrt")
