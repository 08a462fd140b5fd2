"""Networks with several inputs, through every converter and every engine of this machine."""

from __future__ import annotations

import keras
import numpy as np
import onnx
import pytest

from stages.artifacts.signature import Input, Signature
from stages.conversion.litert import write_float
from stages.conversion.onnx.overflow import to_safe_float16
from stages.conversion.quantized import INT8_GRAPHS
from stages.engines import litert
from stages.engines.base import BuildRequest
from stages.engines.cuda.memory import gpu_blocker
from stages.engines.onnxruntime import interpret
from stages.errors import ConversionUnsupported, EngineError
from stages.measurement import accuracy
from tests.stages.conversion.all_graphs import ENGINES, FLOAT_GRAPH, HALF_GRAPH, AllGraphs
from tests.stages.conversion.mutants import swap_names
from tests.stages.conversion.test_layer_parity import Converted
from tests.stages.inputs import SIGNATURE, cameras, data

TAKES_PIXELS = SIGNATURE.fed_as("uint8")
DATA = data(64)
BATCH = SIGNATURE.preprocess(DATA)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> AllGraphs:
    return AllGraphs(cameras(), SIGNATURE, BATCH, tmp_path_factory.mktemp("graphs"))


@pytest.mark.parametrize("file", [FLOAT_GRAPH, HALF_GRAPH, *list(INT8_GRAPHS)[:3]])
def test_a_graph_takes_every_input_under_its_name_as_the_data_are(network, file):
    graph = onnx.load(network.folder / file).graph
    found = {each.name: each.type.tensor_type for each in graph.input}
    assert tuple(found) == SIGNATURE.input_names
    for own in TAKES_PIXELS.each_input:
        batch, *shape = found[own.input_name].shape.dim
        assert batch.dim_param == "N"
        assert tuple(size.dim_value for size in shape) == own.input_shape
        kind = onnx.helper.tensor_dtype_to_np_dtype(found[own.input_name].elem_type)
        assert kind == own.dtype
    got = network.check(file, interpret(network.folder / file, TAKES_PIXELS, DATA))
    assert got.passed, got


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_fed_by_the_names_of_its_inputs(network, name, tmp_path):
    with network.engine(name, tmp_path) as engine:
        got = accuracy.logits(engine, DATA, 5)
        one = engine.infer(TAKES_PIXELS.feed(DATA[:1]))
    found = network.check(ENGINES[name][1], got)
    assert found.passed, found
    np.testing.assert_allclose(one, got[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ENGINES)
def test_two_inputs_of_one_shape_that_are_swapped_are_found(network, name, tmp_path):
    file = ENGINES[name][1]
    (tmp_path / file).write_bytes((network.folder / file).read_bytes())
    swap_names(tmp_path / file, "right", "left")
    with network.engine(name, tmp_path, tmp_path) as engine:
        found = network.check(file, accuracy.logits(engine, DATA, 64))
    # Labels alone, which decide of INT8, may stay the same.
    assert found.max_absolute_difference > 3 * (found.explained_difference or 0.01)


@pytest.mark.parametrize("name", ["onnxruntime.fp32", "openvino.fp32", "litert.fp32"])
def test_inputs_of_other_shapes_that_are_swapped_do_not_open(network, name, tmp_path):
    file = ENGINES[name][1]
    (tmp_path / file).write_bytes((network.folder / file).read_bytes())
    swap_names(tmp_path / file, "table", "signal")
    with pytest.raises(EngineError, match=r"image shape of 'table' is \(16, 2\), expected \(5,\)"):
        network.engine(name, tmp_path, tmp_path).open()


def test_every_layer_is_right_given_what_came_before_it(network):
    net = Converted(network.net, network.folder)
    judged = net.judge(network.folder, TAKES_PIXELS, DATA[:16])
    assert len(judged) == 6
    assert [each for each in judged if not each.passes] == []


@pytest.mark.parametrize("file", ["model.int8.cpu.onnx", "model.int8.tflite"])
def test_a_swapped_pair_fails_layer_by_layer(network, file, tmp_path):
    (tmp_path / file).write_bytes((network.folder / file).read_bytes())
    swap_names(tmp_path / file, "right", "left")
    judged = Converted(network.net, tmp_path).judge(tmp_path, TAKES_PIXELS, DATA[:16])
    assert {each.passes for each in judged} == {False}


def test_what_float16_cannot_hold_is_looked_for_with_every_input(network):
    graph = network.net.float_graph()
    _, layers = to_safe_float16(graph, DATA, TAKES_PIXELS)
    assert layers == ()
    large = DATA.copy()
    large["table"] *= 1e5
    _, layers = to_safe_float16(graph, large, TAKES_PIXELS)
    names = [layer.name for layer in network.net.float.layers]
    (first, *_) = [each.layer for each in layers]
    assert names.index(first) == names.index("table_dense")


def test_litert_says_of_each_camera_why_its_first_convolution_is_float(network):
    request = BuildRequest(TAKES_PIXELS, "int8")
    content = (network.folder / "model.int8.tflite").read_bytes()
    found = list(litert.layers(content, request))
    assert len(found) == 8
    in_float = [(each.kind, each.reason) for each in found if each.executed == "fp32"]
    assert in_float == [("CONV_2D", litert.IN_FLOAT)] * 2


def sums(names: list[str]) -> tuple[keras.Model, Signature]:
    """Of inputs with two numbers each, the first times 1, the next times 2, and so on."""
    inputs = [keras.Input((2,), name=f"i{place}") for place in range(len(names))]
    parts = [place * each for place, each in enumerate(inputs, 1)]
    found = tuple(Input(name, (2,), 1.0, 0.0, "NC", "float32", "float32") for name in names)
    signature = Signature((), ("a", "b"), 1.0, 0.0, inputs=found)
    return keras.Model(inputs, keras.layers.Add()(parts)), signature


@pytest.mark.parametrize(
    "names",
    [["class", "table", "self", "as"], ["x", "X", "left-eye", "left_eye", "left.eye"]],
    ids=["words of Python", "names that TensorFlow makes equal"],
)
def test_litert_has_every_name_though_its_converter_loses_some(tmp_path, names):
    model, signature = sums(names)
    (file,) = write_float(tmp_path / "model.tflite", model, signature)
    assert litert.input_names(file.read_bytes()) == {*names}
    samples = signature.noise(3)
    with litert.Runner(file, signature) as engine:
        found = engine.infer(signature.feed(samples))
    expected = sum(place * samples[name] for place, name in enumerate(names, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_litert_refuses_more_names_of_one_letter_than_there_are(tmp_path):
    model, signature = sums([*"abcdefghijklmnopqrstuvwxyzA"])
    with pytest.raises(
        ConversionUnsupported, match="LiteRT cannot call the inputs 'a', 'b', "
    ) as e:
        write_float(tmp_path / "model.tflite", model, signature)
    assert e.value.hint == "choose longer names"


@pytest.mark.skipif(gpu_blocker() is None, reason="with a GPU its inspector tells the layers")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_tensorrt_rtx_builds_an_engine_that_reads_every_input(network, precision, tmp_path):
    kernels = network.rtx_kernels(precision, tmp_path)
    assert {name for each in kernels for name in each.reads} >= set(SIGNATURE.input_names)
