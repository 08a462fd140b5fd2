from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from stages.numerics.qparams import (
    INT8,
    KERNEL,
    SMALLEST_KERNEL_SCALE,
    SMALLEST_SCALE,
    Grid,
    activation_scale,
    asymmetric_grid,
    kernel_scales,
    quantize,
    snap,
)

finite = st.floats(-100, 100, width=32)


def onnx_quantize(values: np.ndarray, scale: float, dtype: type, zero: int = 0) -> np.ndarray:
    """What QuantizeLinear of the ONNX specification gives, by onnx's own reference."""
    kind = TensorProto.INT8 if dtype is np.int8 else TensorProto.UINT8
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    graph = helper.make_graph(
        [node],
        "q",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, ()),
            helper.make_tensor_value_info("z", kind, ()),
        ],
        [helper.make_tensor_value_info("y", kind, values.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    feeds = {"x": values, "s": np.float32(scale), "z": np.array(zero, dtype)}
    result: np.ndarray = ReferenceEvaluator(model).run(None, feeds)[0]
    return result


@given(arrays(np.float32, (17,), elements=finite), st.floats(0.0078125, 2.0, width=32))
def test_quantize_gives_what_the_onnx_specification_gives(values, scale):
    for grid, dtype in ((INT8, np.int8), (Grid(0, 255), np.uint8)):
        expected = onnx_quantize(values, scale, dtype)
        assert np.array_equal(quantize(values, np.float32(scale), grid), expected)


def test_halves_are_rounded_to_even():
    steps = quantize(np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32), 1.0, INT8)
    assert steps.tolist() == [0, 2, 2, 0, -2]


def test_the_ends_of_a_range_land_on_the_last_steps():
    assert activation_scale(0.0, 2.55, Grid(0, 255)) == pytest.approx(0.01)
    assert activation_scale(-1.0, 1.27, INT8) == pytest.approx(0.01)
    assert activation_scale(-1.28, 1.0, INT8) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("limits", "grid"),
    [
        ((-0.28, 3.5), (-19, 236)),
        ((-3.5, 0.28), (-236, 19)),
        ((0.0, 3.5), (0, 255)),
        ((-3.5, 0.0), (-255, 0)),
        ((-1.0, 1.0), (-128, 127)),
        ((-128 * 0.1, 127 * 0.1), (-128, 127)),
    ],
)
def test_an_asymmetric_grid_has_as_many_steps_on_either_side_as_there_are_values(limits, grid):
    assert asymmetric_grid(*limits) == Grid(*grid)


@given(arrays(np.float32, (17,), elements=finite), st.integers(0, 255))
def test_steps_counted_from_zero_are_what_onnx_stores_less_its_zero_point(values, zero):
    """INT8 has the same numbers as UINT8, 128 lower."""
    steps = quantize(values, np.float32(0.25), Grid(-zero, 255 - zero))
    stored = onnx_quantize(values, 0.25, np.uint8, zero)
    assert np.array_equal(steps, stored.astype(np.int32) - zero)
    shifted = onnx_quantize(values, 0.25, np.int8, zero - 128)
    assert np.array_equal(steps, shifted.astype(np.int32) - (zero - 128))


def test_a_dead_tensor_gets_a_scale_that_float16_can_hold():
    scale = activation_scale(0.0, 0.0, Grid(0, 255))
    assert scale == SMALLEST_SCALE == np.float16(scale) == np.finfo(np.float16).smallest_normal


@given(arrays(np.float32, (3, 3, 4, 5), elements=finite), st.integers(0, 3))
def test_each_output_channel_has_its_own_scale_and_none_is_clipped(kernel, axis):
    scales = kernel_scales(kernel, axis)
    assert scales.shape == (kernel.shape[axis],)
    for channel, scale in zip(np.moveaxis(kernel, axis, 0), scales, strict=True):
        amax = np.abs(channel).max()
        assert scale == (max(np.float32(amax / 127), SMALLEST_KERNEL_SCALE) if amax > 0 else 1.0)
        if scale > SMALLEST_KERNEL_SCALE:
            assert np.abs(quantize(channel, scale, KERNEL)).max() <= 127
            assert np.abs(channel - quantize(channel, scale, KERNEL) * scale).max() <= scale * 0.501


def test_a_depthwise_kernel_has_a_scale_for_every_output_of_every_channel():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype(np.float32)
    as_rows = np.abs(kernel).reshape(9, 8)  # output c * 2 + m sees channel c
    assert np.array_equal(kernel_scales(kernel, 2, 3), as_rows.max(axis=0) / np.float32(127))


@given(arrays(np.float32, (8,), elements=finite), st.floats(1e-4, 1.0))
def test_a_snapped_bias_is_the_nearest_whole_multiple(bias, step):
    snapped = snap(bias, step)
    whole = snapped.astype(np.float64) / step
    assert np.allclose(whole, np.round(whole), atol=1e-2)
    assert np.all(np.abs(snapped - bias) <= step / 2 + 1e-5)
    assert np.array_equal(snap(snapped, step), snapped)
