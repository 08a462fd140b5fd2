from __future__ import annotations

import dataclasses
import functools

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from stages.artifacts.signature import Signature
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.conversion.onnx.targets import float_graph, int8_graph
from stages.engines.onnxruntime import interpret
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points
from stages.quantization.calibrate import find_ranges, observe
from tests.stages.networks import NETWORKS, SHAPE, pixels, randomized

NORMALISATIONS = {"unit": (1 / 255, 0.0), "shifted": (1 / 128, -1.0), "centred": (2 / 255, -1.0)}


def signature(normalisation: str, dtype: str = "float32") -> Signature:
    scale, offset = NORMALISATIONS[normalisation]
    return Signature(SHAPE, tuple("abcd"), scale, offset, dtype=dtype)


PIXELS = pixels(6)


@pytest.fixture(scope="module", params=NORMALISATIONS)
def normalisation(request):
    return request.param


@pytest.fixture(scope="module")
def graphs(normalisation):
    """Graphs with preprocessed input, by kind."""
    return graphs_of(normalisation)


@functools.cache
def graphs_of(normalisation):
    # Not in the fixture: pytest comes back to a normalisation after others, and makes it anew.
    model = fold(randomized(NETWORKS["residual"]()))
    described = signature(normalisation)
    placed = points(model, described)
    batch = described.preprocess(pixels(32))
    found = find_ranges(model, placed, observe(model, placed, [batch]), "max", 100.0)
    int8 = {
        target: int8_graph(model, placed, found, described, target)
        for target in ("cpu", "tensorrt")
    }
    flat = float_graph(model, described)
    return {
        "fp32": flat,
        "fp16": to_float16(flat),
        **int8,
        "tensorrt half": to_float16(int8["tensorrt"]),
        "simulated": simulate(model, placed, found, "tensorrt"),
    }


def logits(graph: onnx.ModelProto, described: Signature, folder) -> np.ndarray:
    onnx.save(graph, folder / "graph.onnx")
    return interpret(folder / "graph.onnx", described, PIXELS)


@pytest.mark.parametrize("kind", ["fp32", "fp16", "cpu", "tensorrt", "tensorrt half"])
def test_pixels_give_the_logits_that_preprocessed_images_give(
    graphs, normalisation, kind, tmp_path
):
    described = signature(normalisation, "uint8")
    graph = prepend_preprocessing(graphs[kind], described)
    assert graph.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    got = logits(graph, described, tmp_path)
    expected = logits(graphs[kind], signature(normalisation), tmp_path)
    # float16 rounds pixel * scale + offset before the first convolution or quantizer
    tolerance = {"fp16": 1e-2, "tensorrt half": 0.1}.get(kind, 1e-4)
    np.testing.assert_allclose(got, expected, atol=tolerance * np.abs(expected).max())


def test_the_half_graph_quantizes_pixels_as_keras_does(graphs, normalisation, tmp_path):
    described = signature(normalisation, "uint8")
    got = logits(prepend_preprocessing(graphs["tensorrt half"], described), described, tmp_path)
    expected = graphs["simulated"](described.preprocess(PIXELS)).numpy()
    np.testing.assert_allclose(got, expected, atol=0.03 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["fp32", "cpu", "tensorrt half"])
def test_float_input_stays_as_it_is(graphs, normalisation, kind):
    assert prepend_preprocessing(graphs[kind], signature(normalisation)) == graphs[kind]


def first_nodes(graph: onnx.ModelProto) -> list[str]:
    """Kinds of the nodes from the image to the first convolution."""
    kinds, name = [], graph.graph.input[0].name
    while not kinds or kinds[-1] != "Conv":
        node = next(node for node in graph.graph.node if name in node.input)
        kinds.append(node.op_type)
        name = node.output[0]
    return [kind for kind in kinds if kind not in ("Transpose", "Reshape")]


UNIT, SHIFTED, CENTRED = NORMALISATIONS


@pytest.mark.parametrize(
    ("normalisation", "kind", "expected"),
    [
        (UNIT, "cpu", ["DequantizeLinear"]),
        (SHIFTED, "cpu", ["DequantizeLinear"]),
        (CENTRED, "cpu", ["Cast", "Mul", "Add", "QuantizeLinear", "DequantizeLinear"]),
        (UNIT, "tensorrt", ["Cast", "QuantizeLinear", "DequantizeLinear"]),
        (UNIT, "tensorrt half", ["Cast", "QuantizeLinear", "DequantizeLinear"]),
        (UNIT, "fp32", ["Cast"]),
        (CENTRED, "fp32", ["Cast", "Mul", "Add"]),
    ],
    indirect=["normalisation"],
)
def test_normalising_costs_as_little_as_the_numbers_allow(graphs, normalisation, kind, expected):
    kinds = first_nodes(prepend_preprocessing(graphs[kind], signature(normalisation, "uint8")))
    without_repeats = [k for i, k in enumerate(kinds[:-1]) if kinds[i - 1 : i] != [k]]
    assert without_repeats[: len(expected)] == expected


def test_two_readers_of_the_image_are_both_served(tmp_path):
    described = signature(UNIT, "uint8")
    from keras import Input, Model, layers

    image = Input(SHAPE, name="image")
    arms = [layers.Conv2D(4, size, padding="same")(image) for size in (1, 3)]
    output = layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.Add()(arms)))
    model = fold(randomized(Model(image, output)))
    graph = prepend_preprocessing(float_graph(model, signature(UNIT)), described)
    got = logits(graph, described, tmp_path)
    np.testing.assert_allclose(got, model(described.preprocess(PIXELS)), atol=1e-4)


def test_a_static_batch_is_in_the_graph(graphs):
    model = fold(randomized(NETWORKS["residual"]()))
    described = dataclasses.replace(signature(UNIT), batch_size=3)
    graph = float_graph(model, described).graph
    sizes = [v.type.tensor_type.shape.dim[0].dim_value for v in (graph.input[0], graph.output[0])]
    assert sizes == [3, 3]
