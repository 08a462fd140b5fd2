from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.conversion.onnx.export import to_onnx
from stages.conversion.onnx.targets import float_graph
from stages.errors import ConversionError
from stages.keras_graph.fold import fold
from tests.stages import heads
from tests.stages.conversion.onnx.builders import SIGNATURE, evaluate
from tests.stages.heads import detector
from tests.stages.networks import NETWORKS, images, randomized


def test_the_graph_has_one_named_input_and_output_and_a_dynamic_batch():
    model = NETWORKS["plain"]()
    exported = to_onnx(lambda image: model(image, training=False), SIGNATURE)
    (image,), (logits,) = exported.graph.input, exported.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (image, logits)
    ]
    assert shapes == [["N", 12, 12, 3], ["N", 4]]
    assert exported.opset_import[0].version == 17


def test_project_class_names_and_normalisation_travel_with_the_graph():
    model = NETWORKS["plain"]()
    exported = to_onnx(lambda image: model(image, training=False), SIGNATURE)
    metadata = {item.key: item.value for item in exported.metadata_props}
    assert metadata["class_names"].split("\n") == ["a", "b", "c", "d"]
    assert metadata["project"].startswith("keras-trt-pipeline ")
    assert metadata["normalisation"].startswith("pixel * 0.0039")
    assert metadata["output"] == "logits"


def test_a_graph_that_returns_probabilities_says_so():
    model = NETWORKS["separable"]()
    signature = replace(SIGNATURE, output="probabilities", output_name="probabilities")
    exported = to_onnx(lambda image: model(image, training=False), signature)
    assert exported.graph.output[0].name == "probabilities"
    assert {item.key: item.value for item in exported.metadata_props}["output"] == "probabilities"


def test_the_opset_can_be_chosen():
    model = NETWORKS["plain"]()
    exported = to_onnx(lambda image: model(image, training=False), SIGNATURE, opset=15)
    assert exported.opset_import[0].version == 15


def test_an_error_inside_tf2onnx_is_one_of_ours():
    def forward(image):
        return tf.signal.fft2d(tf.cast(image, tf.complex64))

    with pytest.raises(ConversionError, match="tf2onnx cannot convert") as caught:
        to_onnx(forward, SIGNATURE)
    assert "replace the layer" in caught.value.hint


def test_padding_and_reshapes_that_do_nothing_are_gone():
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(4, 3)(keras.layers.ZeroPadding2D(1)(image))
    x = keras.layers.Reshape((12, 12, 4))(x)
    model = randomized(keras.Model(image, keras.layers.GlobalAveragePooling2D()(x)))
    exported = to_onnx(lambda x: model(x), SIGNATURE)
    assert not {"Pad", "Reshape"} & {node.op_type for node in exported.graph.node}
    assert np.allclose(evaluate(exported, images(2)), model(images(2)), atol=1e-5)


def test_zero_padding_before_a_max_pool_stays():
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.MaxPooling2D(3)(keras.layers.ZeroPadding2D(1)(image - 1.0))
    model = keras.Model(image, keras.layers.Flatten()(x))
    exported = to_onnx(lambda x: model(x), SIGNATURE)
    assert "Pad" in {node.op_type for node in exported.graph.node}
    assert np.allclose(evaluate(exported, images(2)), model(images(2)), atol=1e-6)


def test_a_constant_captured_by_the_function_becomes_an_initializer():
    captured = tf.constant(np.arange(4, dtype=np.float32))
    model = randomized(NETWORKS["plain"]())
    exported = to_onnx(lambda image: model(image, training=False) + captured, SIGNATURE)
    assert [value.name for value in exported.graph.input] == ["image"]
    expected = model(images(3)).numpy() + np.arange(4)
    assert np.allclose(evaluate(exported, images(3)), expected, atol=1e-5)


def test_an_operation_that_tf2onnx_only_logs_is_an_error():
    def forward(image):
        return tf.math.special.bessel_i0(tf.reduce_mean(image, axis=(1, 2)))

    with pytest.raises(ConversionError, match="tf2onnx cannot convert"):
        to_onnx(forward, SIGNATURE)


def test_an_output_that_is_read_inside_the_graph_keeps_its_readers():
    image = keras.Input((12, 12, 3), name="image")
    model = keras.Model(image, keras.layers.Activation("linear")(image))
    exported = to_onnx(lambda x: model(x), SIGNATURE)
    assert np.array_equal(evaluate(exported, images(1)), images(1))


def test_several_outputs_have_their_names_in_their_order_and_tell_what_is_in_them():
    model = detector()
    exported = to_onnx(lambda image: model(image, training=False), heads.SIGNATURE)
    assert tuple(each.name for each in exported.graph.output) == heads.SIGNATURE.output_names
    batches = {each.type.tensor_type.shape.dim[0].dim_param for each in exported.graph.output}
    assert batches == {"N"}
    metadata = {item.key: item.value for item in exported.metadata_props}
    assert metadata["kind: output"] == "probabilities"
    assert metadata["mask: class_names"].split("\n") == ["a", "b"]
    assert "class_names" not in metadata


def test_an_input_may_be_called_as_kernels_are_on_the_way():
    signature = replace(SIGNATURE, input_name="kernel.0")
    exported = float_graph(fold(randomized(NETWORKS["plain"]())), signature)
    assert [each.name for each in exported.graph.input] == ["kernel.0"]


def test_an_output_with_the_name_of_the_input_is_refused():
    first, *rest = heads.SIGNATURE.heads
    named = replace(heads.SIGNATURE, heads=(replace(first, name="image"), *rest))
    with pytest.raises(ConversionError, match="an output is called 'image', as an input is"):
        to_onnx(lambda image: [image], named)
