from __future__ import annotations

import numpy as np
import pytest

from stages.artifacts.signature import Head, Signature
from stages.engines.registry import EngineName
from stages.measurement import parity
from stages.measurement.parity import KERAS_FLOAT, fake_quantized
from stages.numerics import fields
from stages.results.conversion import LayerParity

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (1000, 10)).astype(np.float32)
SIGNATURE = Signature((4, 4, 1), tuple("abcdefghij"), 1.0, 0.0)


def with_other_labels(count: int) -> np.ndarray:
    changed = LOGITS.copy()
    changed[:count] = -changed[:count]
    return changed


MARGINS = np.diff(np.sort(LOGITS, axis=1)[:, -2:], axis=1)[:, 0]


def with_second_ahead(where: np.ndarray) -> np.ndarray:
    """The largest and the second logit exchanged."""
    changed, rows = LOGITS.copy(), np.flatnonzero(where)
    second, first = LOGITS.argsort(axis=1)[where, -2:].T
    changed[rows, first], changed[rows, second] = LOGITS[rows, second], LOGITS[rows, first]
    return changed


@pytest.mark.parametrize("sureness", [1.0, 1e-3, 1e3])
def test_a_label_may_change_only_where_rounding_explains_it(sureness):
    against, explained = fake_quantized("cpu"), sureness * 0.1
    close = with_second_ahead(MARGINS <= 0.2)
    assert 0 < np.sum(MARGINS <= 0.2) < 200
    found = parity.check_int8(
        "model", against, sureness * LOGITS, sureness * close, explained, SIGNATURE
    )
    assert (found.passed, found.unexplained_labels) == (True, 0)
    assert found.explained_difference == explained
    clear = with_second_ahead((MARGINS > 0.2) & (MARGINS < 0.3))
    found = parity.check_int8(
        "model", against, sureness * LOGITS, sureness * clear, explained, SIGNATURE
    )
    assert not found.passed
    assert found.unexplained_labels == np.sum((MARGINS > 0.2) & (MARGINS < 0.3))


@pytest.mark.parametrize(
    "engine", ["onnxruntime.int8", "litert.int8", "tensorrt.int8", "tensorrt.fp8"]
)
def test_an_int8_engine_is_judged_by_what_rounding_explains(engine):
    name, moved = EngineName.parse(engine), with_second_ahead(MARGINS <= 0.2)
    for explained, passed in ((0.1, True), (0.01, False)):
        found = parity.engine_check(name, LOGITS, moved, explained, SIGNATURE)
        assert (found.name, found.passed) == (engine, passed)


@pytest.mark.parametrize(
    ("lost", "won", "passed"), [(20, 0, True), (29, 0, True), (60, 0, False), (250, 230, True)]
)
def test_a_simulation_may_change_labels_but_not_surely_lose_many_right_ones(lost, won, passed):
    labels = LOGITS.argmax(axis=1)
    labels[:won] = (-LOGITS[:won]).argmax(axis=1)
    got = with_other_labels(won + lost)
    found = parity.simulation(fake_quantized("cpu"), LOGITS, got, labels, SIGNATURE)
    assert found.passed is passed
    assert found.top1_agreement == pytest.approx(1 - (won + lost) / 1000)


@pytest.mark.parametrize(
    ("engine", "relative", "tf32", "passed"),
    [
        ("onnxruntime.fp32", 5e-5, True, True),
        ("onnxruntime.fp32", 5e-4, True, False),
        ("tensorrt.fp32", 5e-4, False, False),
        ("tensorrt.fp32", 5e-4, True, True),
        ("tensorrt_rtx.fp32", 2e-3, True, False),
        ("tensorrt.fp16", 5e-3, True, True),
        ("tensorrt.fp16", 5e-2, True, False),
        ("tensorrt.bf16", 5e-2, True, True),
        ("tensorrt.bf16", 0.1, True, False),
    ],
)
def test_a_float_engine_may_differ_as_far_as_its_precision_explains(engine, relative, tf32, passed):
    moved = LOGITS + np.float32(relative * np.abs(LOGITS).max())
    check = parity.engine_check(EngineName.parse(engine), LOGITS, moved, 0.0, SIGNATURE, tf32)
    assert check.passed is passed


def test_outputs_that_are_not_finite_never_pass():
    broken = LOGITS.copy()
    broken[0, 0] = np.nan
    assert not parity.check_float("model.fp32.onnx", LOGITS, broken, SIGNATURE).passed
    assert not parity.check_int8(
        "model", fake_quantized("cpu"), LOGITS, broken, 1e9, SIGNATURE
    ).passed


def test_the_first_check_that_does_not_pass_is_named():
    good = parity.check_float("model.fp32.onnx", LOGITS, LOGITS, SIGNATURE)
    bad = parity.check_float("model.fp16.onnx", LOGITS, -LOGITS, SIGNATURE)
    assert parity.first_mismatch([good, good]) is None
    assert parity.first_mismatch([good, bad, bad]) == "model.fp16.onnx"


def test_a_layer_that_is_wrong_is_named_before_any_output():
    bad = parity.check_float("model.fp16.onnx", LOGITS, -LOGITS, SIGNATURE)
    counts = {"elements": 9, "off_by_one": 1, "off_by_more": 0, "unexplained": 1}
    layer = LayerParity(name="a.onnx in OpenVINO", worst_point="conv", passes=False, **counts)
    assert parity.first_mismatch([bad], [layer]) == "a.onnx in OpenVINO: conv"


def test_an_engine_is_compared_with_the_rounding_that_it_has():
    references = {
        "onnxruntime.fp32": KERAS_FLOAT,
        "onnxruntime.int8": fake_quantized("cpu"),
        "litert.int8": fake_quantized("litert"),
        "tensorrt_rtx.int8": fake_quantized("tensorrt"),
        "tensorrt_rtx.fp8": fake_quantized("fp8"),
        "tensorrt.bf16": KERAS_FLOAT,
    }
    assert {name: parity.reference(EngineName.parse(name)) for name in references} == references


def test_of_numbers_each_is_compared_in_its_own_unit():
    numbers = Signature((4, 4, 1), ("price", "angle"), 1.0, 0.0, task="regression", output="values")
    expected = np.stack([RNG.normal(20000, 10, 50), RNG.normal(0, 0.5, 50)], 1).astype(np.float32)
    mixed = expected.copy()
    mixed[:, 1] = mixed[::-1, 1]
    assert parity.check_float("model.fp32.onnx", expected, expected, numbers).passed
    assert not parity.check_float("model.fp32.onnx", expected, mixed, numbers).passed


def test_of_numbers_each_may_move_as_far_as_its_own_rounding_explains():
    numbers = Signature((4, 4, 1), ("price", "angle"), 1.0, 0.0, task="regression", output="values")
    expected = np.stack([RNG.normal(20000, 10, 50), RNG.normal(0, 0.5, 50)], 1).astype(np.float32)
    explained, moved = np.array([40.0, 0.01]), np.float32([30.0, 0.015])
    found = parity.check_int8("model", "simulation", expected, expected + moved, explained, numbers)
    assert (found.passed, found.explained_difference) == (True, 40.0)
    mixed = expected.copy()
    mixed[:, 1] = mixed[::-1, 1]
    assert not parity.check_int8("a", "b", expected, mixed, explained, numbers).passed
    assert parity.check_int8("a", "b", expected, mixed, 40.0, numbers).passed  # of all together


NUMBERS = Head("box", "regression", "values", ("x", "y"), ())
SEVERAL = Signature(
    (4, 4, 1),
    (),
    1.0,
    0.0,
    output="values",
    task="several",
    heads=(Head("kind", "classification", "logits", tuple("abcdefghij"), ()), NUMBERS),
)
BOXES = RNG.normal(size=(1000, 2)).astype(np.float32)


def several(kinds: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    return SEVERAL.joined([kinds, boxes])


@pytest.mark.parametrize(
    ("moved", "output", "passed"),
    [((5e-3, 5e-2), "box", False), ((5e-2, 5e-3), "kind", False), ((5e-3, 1e-3), "kind", True)],
)
def test_of_several_outputs_the_one_that_is_furthest_off_counts(moved, output, passed):
    kind, box = (
        each + np.float32(share * np.abs(each).max())
        for each, share in zip((LOGITS, BOXES), moved, strict=True)
    )
    name = EngineName.parse("onnxruntime.fp16")
    found = parity.engine_check(name, several(LOGITS, BOXES), several(kind, box), 0.0, SEVERAL)
    assert (found.output, found.passed) == (output, passed)
    assert found.max_relative_difference == pytest.approx(max(moved), rel=0.5)
    named = None if passed else f"onnxruntime.fp16: {output}"
    assert parity.first_mismatch([found]) == named


def test_what_rounding_explains_is_of_each_output_its_own():
    explained = np.array((0.1, (0.01, 0.001)), [("kind", float), ("box", float, 2)])
    against = fake_quantized("cpu")
    moved = several(with_second_ahead(MARGINS <= 0.2), BOXES + np.float32(0.01))
    found = parity.check_int8("model", against, several(LOGITS, BOXES), moved, explained, SEVERAL)
    assert (found.passed, found.output, found.explained_difference) == (False, "box", 0.01)
    explained["box"][1] = 0.01
    found = parity.check_int8("model", against, several(LOGITS, BOXES), moved, explained, SEVERAL)
    assert found.passed


def test_a_simulation_may_lose_little_of_any_output():
    labels = fields.joined({"kind": LOGITS.argmax(axis=1), "box": BOXES})
    before, noise = several(LOGITS, BOXES), RNG.normal(size=BOXES.shape).astype(np.float32)
    found = parity.simulation("model", before, several(LOGITS, BOXES), labels, SEVERAL)
    assert found.passed
    found = parity.simulation("model", before, several(LOGITS, BOXES + noise), labels, SEVERAL)
    assert (found.passed, found.output) == (False, "box")


def test_a_number_that_is_nan_is_not_hidden_behind_another():
    broken = several(LOGITS, BOXES)
    broken["box"][3, 1] = np.nan
    found = parity.check_float("model.fp32.onnx", several(LOGITS, BOXES), broken, SEVERAL)
    assert (found.passed, found.output) == (False, "box")
