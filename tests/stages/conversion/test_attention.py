"""A network with attention in every graph and engine: its projections are INT8, right to a step."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.targets import float_graph
from stages.engines import litert, onnxruntime, openvino
from stages.engines.base import BuildRequest
from stages.keras_graph.fold import fold
from stages.numerics.parity import compare
from stages.training import evaluate
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.conversion.onnx.test_targets import BATCH, Quantized, run
from tests.stages.conversion.test_layer_parity import Converted, converted
from tests.stages.networks import SHAPE, randomized

PROJECTIONS = {f"{name}_{part}" for name in ("heads", "grouped") for part in (
    "query", "key", "value", "attention_output",
)}  # fmt: skip
PRODUCTS = {f"{name}_{part}" for name in ("heads", "grouped") for part in ("scores", "product")}
REQUEST = BuildRequest(SIGNATURE, "int8")


def transformer() -> keras.Model:
    """Patches of an image that attend to each other, and later to those before them."""
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(16, 4, strides=4, activation="relu")(image)
    x = layers.Reshape((9, 16))(x)
    arm = layers.LayerNormalization()(x)
    arm = layers.MultiHeadAttention(4, 4, value_dim=3, dropout=0.1, name="heads")(arm, arm)
    arm = layers.EinsumDense("abc,cd->abd", (9, 24), "gelu", "d", name="wide")(arm)
    x = layers.Add()([x, layers.EinsumDense("...x,xy->...y", 16, name="narrow")(arm)])
    x = layers.GroupQueryAttention(8, 4, 2, name="grouped")(x, x, use_causal_mask=True)
    return keras.Model(image, layers.Dense(4, name="answers")(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Converted:
    return converted(Quantized(randomized(transformer())), tmp_path_factory.mktemp("graphs"))


def test_the_float_graphs_agree_with_keras(network, tmp_path):
    expected = evaluate.logits(network.net.float, BATCH)
    graph = float_graph(fold(network.net.float), SIGNATURE)
    assert compare(expected, run(graph, tmp_path)).max_relative_difference < 1e-5
    halved = run(to_float16(graph), tmp_path)
    assert compare(expected, halved).max_relative_difference < 5e-3


def test_every_layer_is_right_to_a_rounding_in_every_runtime(network):
    found = network.judge(network.folder)
    assert len(found) == 7
    assert [each for each in found if not each.passes] == []
    # No engine has a grid that the simulation does not know; those of E4M3 are finer than the
    # float16 before them.
    assert all(each.off_by_more == 0 for each in found if each.name != "model.fp8.onnx")


def test_only_the_products_of_attention_are_float_in_onnx_runtime(network, tmp_path):
    source = network.folder / "model.int8.cpu.onnx"
    found = onnxruntime.build(source, tmp_path / "engine.onnx", REQUEST).layers
    executed = {layer.nodes[0]: layer.executed for layer in found}
    assert PROJECTIONS | {"wide", "narrow"} < executed.keys()
    assert {name for name, precision in executed.items() if precision != "int8"} == PRODUCTS


def test_openvino_projects_in_integers(network, tmp_path):
    source = network.folder / "model.int8.cpu.onnx"
    found = openvino.build(source, tmp_path / "model.openvino", REQUEST).layers
    projected = [layer for layer in found if layer.kind == "FullyConnected"]
    assert len(projected) == len(PROJECTIONS) + 3
    assert {layer.executed for layer in projected} == {"int8"}


def test_only_the_products_of_attention_are_float_in_litert(network):
    content = (network.folder / "model.int8.tflite").read_bytes()
    first, *others = litert.layers(content, REQUEST)
    assert first.reason == litert.IN_FLOAT
    assert {layer.name for layer in others if layer.executed != "int8"} == PRODUCTS
    assert {layer.name for layer in others} >= PROJECTIONS | {"wide", "narrow"}
