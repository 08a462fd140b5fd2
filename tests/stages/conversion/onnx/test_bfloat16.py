from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from stages.conversion.onnx.bfloat16 import in_float32
from stages.conversion.onnx.float16 import to_bfloat16
from stages.engines.onnxruntime import outputs
from tests.stages.conversion.onnx.builders import IMAGES as X
from tests.stages.conversion.onnx.builders import KERNEL as W
from tests.stages.conversion.onnx.builders import SIGNATURE, conv, evaluate, kinds


def test_everything_between_the_casts_is_bfloat16_and_the_ends_are_float32():
    half = to_bfloat16(conv())
    assert kinds(half) == ["Cast", "Conv", "Relu", "Cast"]
    assert {each.data_type for each in half.graph.initializer} == {TensorProto.BFLOAT16}
    ends = [*half.graph.input, *half.graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    assert half.opset_import[0].version == 22


def test_outputs_agree_to_eight_bits():
    expected, got = evaluate(conv(), X), evaluate(to_bfloat16(conv()), X)
    apart = np.abs(got - expected).max() / np.abs(expected).max()
    assert 2**-11 < apart < 2**-6


def test_what_float16_cannot_hold_bfloat16_does():
    largest = float(np.finfo(np.float32).max)
    got = evaluate(to_bfloat16(conv(np.full_like(W, 1e6))), X)
    assert np.isfinite(got).all()
    (stored,) = to_bfloat16(conv(np.full_like(W, largest))).graph.initializer
    assert np.isfinite(onnx.numpy_helper.to_array(stored).astype(np.float32)).all()


def test_rounding_every_result_in_float32_is_what_the_graph_means():
    """Against ONNX' own evaluator, whose sums are rounded as well: a unit in the last place."""
    half = to_bfloat16(conv())
    expected = evaluate(half, X)
    wide = in_float32(half)
    assert {each.data_type for each in wide.graph.initializer} == {TensorProto.FLOAT}
    wide.graph.input[0].name = wide.graph.node[0].input[0] = SIGNATURE.input_name
    got = outputs(wide, SIGNATURE, X, as_written=True)["y"]
    assert np.abs(got - expected).max() <= 2**-7 * np.abs(expected).max()
    mantissas = got.view(np.uint32) & 0xFFFF
    assert not mantissas.any(), "every result has the bits of a bfloat16"
