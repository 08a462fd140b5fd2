from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from stages.artifacts.ranges import Range, covering
from stages.artifacts.signature import Signature
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.fake_quant import (
    FakeQuantize,
    QuantizedKernel,
    fake_quantize,
    layer_name,
    simulate,
)
from stages.keras_graph.fold import fold
from stages.keras_graph.kernels import WEIGHTED, output_axis
from stages.keras_graph.placement import points
from stages.numerics import qparams
from tests.stages.networks import NETWORKS, SHAPE, images, randomized

SIGNATURE = Signature(SHAPE, ("a", "b", "c", "d"), scale=1 / 255, offset=0.0)


def quantized(name: str, target="cpu"):
    folded = fold(randomized(NETWORKS[name]()))
    placed = points(folded, SIGNATURE)
    seen = keras.Model(folded.inputs[0], [p.tensor for p in placed.values()])(images(32))
    found = {name: covering(np.asarray(values)) for name, values in zip(placed, seen, strict=True)}
    return folded, placed, found, simulate(folded, placed, found, target)


def test_fake_quantization_is_quantize_and_dequantize():
    values = np.random.default_rng(0).normal(0, 2, 1000).astype(np.float32)
    for grid in (qparams.INT8, qparams.Grid(0, 255), qparams.Grid(-19, 236), qparams.KERNEL):
        steps = qparams.quantize(values, np.float32(0.03), grid).astype(np.float32)
        expected = steps * np.float32(0.03)
        assert np.array_equal(fake_quantize(tf.constant(values), 0.03, grid), expected)


class Told(layers.Dense):
    """Notes every call."""

    def build(self, input_shape):
        self.told = []
        super().build(input_shape)

    def call(self, inputs):
        self.told.append(inputs.shape)
        return super().call(inputs)


def test_a_graph_is_built_without_tracing_the_layers_that_are_in_it_already():
    layer, image = Told(3), keras.Input((4,))
    layer.build((None, 4))
    output = QuantizedKernel(layer)(image)
    assert (output.shape, output.dtype, layer.told) == ((None, 3), "float32", [])
    assert keras.Model(image, output)(np.ones((2, 4), np.float32)).shape == (2, 3)
    assert len(layer.told) == 1


def test_no_two_points_and_no_layer_share_the_name_of_a_fake_quantization():
    points = ["relu", "relu:2", "relu_2", "relu_2:2", "relu.2", "relu_range"]
    assert len({layer_name(point) for point in points} | set(points)) == 2 * len(points)


def test_gradients_pass_inside_the_range_and_move_the_scale_outside():
    values, scale = tf.constant([0.26, 5.0, -5.0]), tf.constant(0.01)
    with tf.GradientTape() as tape:
        tape.watch([values, scale])
        result = fake_quantize(values, scale, qparams.INT8)
    by_value, by_scale = tape.gradient(result, [values, scale], output_gradients=tf.ones(3))
    assert by_value.numpy().tolist() == [1.0, 0.0, 0.0]
    assert by_scale.numpy() == pytest.approx(127 - 128, abs=1e-3)


@pytest.mark.parametrize("target", ["cpu", "tensorrt", "litert"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_simulation_equals_integers_times_scales_step_by_step(name, target):
    """Independent computation: kernels and activations quantized by NumPy, layer by layer."""
    folded, placed, found, simulated = quantized(name, target)
    expected = _by_hand(folded, placed, found, target, images(4))
    assert np.allclose(simulated(images(4)), expected, atol=2e-2 * np.abs(expected).max())
    # Rounding flips of single values apart, the two agree closely.
    assert np.abs(simulated(images(4)) - expected).mean() < 2e-3 * np.abs(expected).max()


def _by_hand(folded, placed, found, target, batch):
    from stages.keras_graph.walk import walk

    by_tensor = {id(p.tensor): p for p in placed.values() if target in p.targets}

    def at(tensor, value):
        point = by_tensor.get(id(tensor))
        if point is None:
            return value
        spec = found[point.name]
        scale = np.float32(spec.scale(target))
        steps = qparams.quantize(np.asarray(value), scale, spec.grid(target))
        return tf.constant(steps.astype(np.float32) * scale)

    def visit(call, *args, **kwargs):
        layer = call.operation
        if isinstance(layer, WEIGHTED) and not (target == "litert" and args[0].shape[-1] < 4):
            layer = _with_integer_kernel(layer, args[0].shape)
        return at(call.outputs[0], layer(*args, **kwargs))

    return np.asarray(walk(folded, [at(folded.inputs[0], batch)], visit)[0])


def _with_integer_kernel(layer, input_shape):
    kernel, axis = kernel_of(layer).numpy(), output_axis(layer)
    scales = qparams.kernel_scales(kernel, axis)
    shape = [-1 if i == axis else 1 for i in range(kernel.ndim)]
    steps = qparams.quantize(kernel, scales.reshape(shape), qparams.KERNEL)
    copy = type(layer).from_config(layer.get_config())
    copy.build(input_shape)
    copy.set_weights([steps.astype(np.float32) * scales.reshape(shape), layer.bias.numpy()])
    return copy


def test_training_the_simulation_trains_the_folded_model_and_its_ranges():
    folded, _, found, simulated = quantized("plain")
    before = [w.copy() for w in folded.get_weights()]
    simulated.compile(
        keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    simulated.fit(images(64), np.arange(64) % 4, epochs=2, verbose=0)
    moved = [np.any(a != b) for a, b in zip(folded.get_weights(), before, strict=True)]
    assert all(moved)
    ranges = {name: simulated.get_layer(layer_name(name)).learned() for name in found}
    assert any(abs(ranges[name].high / found[name].high - 1) > 1e-3 for name in found)
    assert all(ranges[name].high > 0 for name in found)
    assert all(ranges[name].grid("cpu") == found[name].grid("cpu") for name in found)


def test_an_untrained_range_comes_back_as_it_went_in_up_to_float16():
    start = Range(low=-0.28, high=3.5, saturated_share=0.25)
    learned = FakeQuantize(start, "cpu").learned()
    step = 3.5 / 236
    assert learned.high == pytest.approx(3.5, rel=2**-11)
    assert learned.low == pytest.approx(-19 * step, rel=2**-11)
    assert (learned.grid("cpu"), learned.saturated_share) == (start.grid("cpu"), 0.25)


def test_the_scale_of_a_tiny_kernel_is_that_of_the_graphs():
    layer = layers.Dense(2)
    layer(np.zeros((1, 2), np.float32))
    layer.set_weights([np.array([[1e-5, 1e-6], [3e-5, 0.0]]), np.zeros(2)])
    steps = qparams.quantize(
        layer.kernel.numpy(), qparams.kernel_scales(layer.kernel.numpy(), 1), qparams.KERNEL
    )
    expected = steps.astype(np.float32) * qparams.SMALLEST_KERNEL_SCALE
    assert np.abs(steps).max() < 127
    assert np.array_equal(QuantizedKernel(layer)(np.eye(2, dtype=np.float32)), expected)


def test_a_kernel_of_zeros_stays_zero_and_trains_without_nan():
    image = keras.Input(SHAPE, name="image")
    x = layers.Flatten()(layers.Conv2D(4, 3, kernel_initializer="zeros")(image))
    folded = fold(keras.Model(image, layers.Dense(4)(x)))
    placed = points(folded, SIGNATURE)
    found = {name: Range(-1.0 if p.signed else 0.0, 1.0) for name, p in placed.items()}
    simulated = simulate(folded, placed, found)
    assert np.isfinite(simulated(images(2))).all()
