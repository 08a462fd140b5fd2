from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from onnx import numpy_helper

from stages.artifacts.signature import Signature
from stages.conversion.onnx.targets import float_graph
from stages.errors import ModelError
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.fold import fold
from stages.numerics.sparsity import is_two_of_four
from stages.pruning import sparse
from tests.stages.networks import NETWORKS, SHAPE, randomized

SIGNATURE = Signature(SHAPE, tuple("abcd"), 1 / 255, 0.0)


def test_two_of_four_in_the_exported_graph_also_behind_flatten():
    model = sparse.two_of_four(randomized(NETWORKS["plain"]()), ())
    graph = float_graph(fold(model), SIGNATURE).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "Conv":  # (cout, cin, kh, kw)
            found.append(is_two_of_four(constants[node.input[1]].transpose(2, 3, 1, 0)))
        if node.op_type == "Gemm":
            found.append(is_two_of_four(constants[node.input[1]]))
    # The first convolution has three inputs, of which two stay; the last layer is not touched.
    assert found == [True, True, True, False]


def test_the_order_of_rows_behind_flatten_is_channels_first_and_back():
    image = keras.Input((2, 3, 4))
    dense = layers.Dense(2)
    x = dense(layers.Dropout(0.1)(layers.Flatten()(image)))
    model = keras.Model(image, layers.Dense(2)(x))
    (call,) = sparse.sparse_calls(model, ())
    kernel = np.arange(48, dtype=np.float32).reshape(24, 2)
    ordered = sparse.to_engine_order(kernel, call, model)
    expected = kernel.reshape(2, 3, 4, 2).transpose(2, 0, 1, 3).reshape(24, 2)
    np.testing.assert_array_equal(ordered, expected)
    np.testing.assert_array_equal(sparse.from_engine_order(ordered, call, model), kernel)


def test_depthwise_grouped_output_and_excluded_layers_stay_dense():
    image = keras.Input((8, 8, 8))
    x = layers.Conv2D(8, 3, name="ordinary")(image)
    x = layers.Conv2D(8, 3, name="kept")(x)
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(layers.DepthwiseConv2D(1)(x))
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
    names = [call.operation.name for call in sparse.sparse_calls(model, ("kept",))]
    assert names == ["ordinary"]


def test_a_model_without_a_layer_to_zero_is_refused():
    image = keras.Input((4, 4, 4))
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(image)), name="linear")
    with pytest.raises(ModelError, match="'linear' has no layer whose weights may be zeroed"):
        sparse.two_of_four(model, ())


def test_an_excluded_name_that_is_no_layer_is_refused():
    with pytest.raises(ModelError, match=r"prune\.exclude_layers names 'conv'"):
        sparse.prospects(NETWORKS["plain"](), ("conv",))


def test_only_layers_with_256_inputs_and_outputs_are_said_to_gain():
    image = keras.Input((4, 4, 128))
    x = layers.Conv2D(256, 1, name="narrow_in")(image)
    x = layers.Conv2D(256, 1, name="wide")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(255, 1, name="narrow_out")(x))
    model = keras.Model(image, layers.Dense(4)(x))
    wide = {row.layer: row.is_wide_enough for row in sparse.prospects(model, ())}
    assert wide == {"narrow_in": False, "wide": True, "narrow_out": False}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_smallest_weights_go_and_the_compressed_size_falls(scope):
    before = randomized(NETWORKS["residual"]())
    after = randomized(NETWORKS["residual"]())
    sparse.smallest(after, 0.8, (), (1, 1), scope)
    counted = [kernel_of(call.operation).numpy() for call in sparse.sparse_calls(after, ())]
    zeros = sum(int((kernel == 0).sum()) for kernel in counted)
    assert zeros / sum(kernel.size for kernel in counted) == pytest.approx(0.8, abs=0.01)
    found = sparse.sizes(before, after)
    assert found.compressed_bytes_after < 0.5 * found.compressed_bytes_before
    assert found.weights_bytes == sum(weight.nbytes for weight in after.get_weights())
    assert 0.75 < found.zero_share < 0.8
