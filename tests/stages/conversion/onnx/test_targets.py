"""The exported networks, executed by ONNX Runtime as they are written and as it fuses them."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from stages.artifacts.ranges import Range, covering
from stages.artifacts.signature import Fed, Signature
from stages.conversion.layer_parity import compare_layers
from stages.conversion.litert import write_int8
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.graph import Index
from stages.conversion.onnx.qdq import quantized_tensors
from stages.conversion.onnx.targets import float_graph, int8_graph
from stages.conversion.quantized import INT8_GRAPHS
from stages.conversion.traces import trace_onnx, traces
from stages.engines import litert, openvino
from stages.engines.base import BuildRequest
from stages.engines.onnxruntime import Runner, interpret, outputs
from stages.engines.registry import Target
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import Point, only, points, tied
from stages.keras_graph.walk import alone
from stages.numerics.parity import compare
from stages.quantization.bias_steps import snap_biases
from stages.training import evaluate
from tests.stages.conversion.onnx.builders import SIGNATURE, kinds
from tests.stages.conversion.onnx.builders import evaluate as evaluate_onnx
from tests.stages.networks import APPLICATIONS, NETWORKS, SHAPE, images, pixels, randomized

ALL = {**NETWORKS, **APPLICATIONS}
BATCH = images(64)
QUANTA = 2.1
"""Off by two, and a little for the scale being rounded to float16."""


class Quantized:
    """A network folded and calibrated, and what its simulation says."""

    def __init__(
        self, model: keras.Model, signature: Signature = SIGNATURE, batch: Fed = BATCH
    ) -> None:
        self.float, self.signature, self.batch = model, signature, batch
        self.model = fold(self.float)
        self.points = points(self.model, signature)
        tensors = [point.tensor for point in self.points.values()]
        seen = keras.Model(alone(self.model.inputs), tensors)(batch)
        self.ranges = {
            name: covering(np.asarray(values))
            for name, values in zip(self.points, seen, strict=True)
        }
        for group in tied(self.model, self.points):
            widest = max(group, key=lambda name: self.ranges[name].scale("cpu"))
            self.ranges |= dict.fromkeys(group, self.ranges[widest])
        snap_biases(self.model, self.points, self.ranges)

    @functools.cache  # noqa: B019 - nine small networks, gone with the module
    def graph(self, target):
        return int8_graph(self.model, self.points, self.ranges, self.signature, target)

    @functools.cache  # noqa: B019
    def float_graph(self):
        return float_graph(fold(self.float), self.signature)

    @functools.cache  # noqa: B019
    def litert_forms(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.int8.tflite"
            forms = write_int8(file, self.model, self.points, self.ranges, self.signature)
            return {form.name: form.read_bytes() for form in forms}

    def write_litert(self, folder):
        """Write the network in each of LiteRT's forms and return the files."""
        for name, content in self.litert_forms().items():
            (folder / name).write_bytes(content)
        return [folder / name for name in self.litert_forms()]

    def compare_layers(self, graph):
        """The layer-local test of `graph`, which is for CPUs, as ONNX Runtime runs it."""
        seen = pixels(64)
        trace = trace_onnx(graph, "cpu", SIGNATURE, SIGNATURE.feed(seen), outputs)
        return compare_layers("", self.model, self.points, self.ranges, trace, seen, SIGNATURE)

    @functools.cache  # noqa: B019
    def simulated(self, target):
        simulation = simulate(self.model, self.points, self.ranges, target)
        return evaluate.logits(simulation, self.batch, self.signature)


@pytest.fixture(scope="module", params=list(ALL))
def net(request):
    return Quantized(randomized(ALL[request.param]()))


def run(model: onnx.ModelProto, folder) -> np.ndarray:
    onnx.save(model, folder / "model.onnx")
    return interpret(folder / "model.onnx", SIGNATURE, pixels(64))


def quanta(reference: np.ndarray, got: np.ndarray) -> float:
    """Largest difference in steps of the logits' INT8 grid."""
    return compare(reference, got).max_relative_difference * 127


def test_the_float_graph_agrees_with_keras(net, tmp_path):
    expected = evaluate.logits(net.float, BATCH)
    got = run(net.float_graph(), tmp_path)
    assert compare(expected, got).max_relative_difference < 1e-5


def test_the_float16_graph_agrees_to_half_precision(net, tmp_path):
    expected = evaluate.logits(net.float, BATCH)
    got = run(to_float16(net.float_graph()), tmp_path)
    assert compare(expected, got).max_relative_difference < 5e-3


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_the_int8_graph_agrees_with_the_simulation_to_two_quanta(net, target, tmp_path):
    assert quanta(net.simulated(target), run(net.graph(target), tmp_path)) <= QUANTA


def test_the_fp8_graph_is_what_onnx_and_the_simulation_say():
    """In float16, whose rounding may exchange neighbours in E4M3: a sixteenth of a value."""
    net = Quantized(randomized(NETWORKS["plain"]()))
    graph = to_float16(net.graph("fp8"))
    kinds_of = {tensor.data_type for tensor in graph.graph.initializer}
    assert onnx.TensorProto.INT8 not in kinds_of
    few = BATCH[:4]
    expected = net.simulated("fp8")[:4]
    assert compare(expected, evaluate_onnx(graph, few)).max_relative_difference < 1 / 16
    exact = evaluate_onnx(net.graph("fp8"), few)
    assert compare(expected, exact).max_relative_difference < 2**-9
    float_logits = evaluate.logits(net.float, few)
    apart = compare(float_logits, exact).max_relative_difference
    assert 2**-9 < apart < 1 / 4, "it is rounded, and no more than that"


def test_every_kernel_is_e4m3_with_one_scale():
    graph = Quantized(randomized(NETWORKS["separable"]())).graph("fp8").graph
    index = Index(graph)
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            pair = index.producer[node.input[1]]
            assert index.constants[pair.input[0]].data_type == onnx.TensorProto.FLOAT8E4M3FN
            assert index.array(pair.input[1]).shape == ()


def test_what_only_moves_values_moves_no_fp8_which_no_such_operator_takes():
    image = keras.Input(SHAPE, name="image")
    body = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    heads = [
        layers.Conv2D(4, 3, padding="same")(each) for each in (body, layers.MaxPool2D(2)(body))
    ]
    boxes = layers.Concatenate(axis=1)([layers.Reshape((-1, 4))(head) for head in heads])
    net = Quantized(randomized(keras.Model(image, layers.Dense(3)(layers.Flatten()(boxes)))))
    graph = net.graph("fp8")
    stored = [each for each in graph.graph.initializer if each.name.endswith("_q")]
    assert {each.data_type for each in stored} == {onnx.TensorProto.FLOAT8E4M3FN}
    assert len(stored) == 4
    few = BATCH[:4]
    got = compare(net.simulated("fp8")[:4], evaluate_onnx(graph, few))
    assert got.max_relative_difference < 2**-9


def test_onnx_runtimes_integer_kernels_give_the_same(net, tmp_path):
    onnx.save(net.graph("cpu"), tmp_path / "model.onnx")
    with Runner(tmp_path / "model.onnx", SIGNATURE) as engine:
        assert quanta(net.simulated("cpu"), engine.infer(BATCH)) <= QUANTA


def test_openvinos_integer_kernels_give_the_same(net):
    found = openvino.outputs(net.graph("cpu"), SIGNATURE, BATCH)["logits"]
    assert quanta(net.simulated("cpu"), found) <= QUANTA


def test_openvino_computes_with_zero_points_in_integer_kernels(tmp_path):
    net = Quantized(randomized(APPLICATIONS["squeezed"]()))
    onnx.save(net.graph("cpu"), tmp_path / "model.onnx")
    request = BuildRequest(SIGNATURE, "int8")
    report = openvino.build(tmp_path / "model.onnx", tmp_path / "model.openvino", request)
    convolutions = [layer for layer in report.layers if layer.kind == "Convolution"]
    assert {layer.executed for layer in convolutions} == {"int8"}


def test_every_layer_is_right_to_a_rounding_in_every_runtime(net, tmp_path):
    tensorrt = net.graph("tensorrt")
    graphs = net.graph("cpu"), tensorrt, to_float16(tensorrt)
    for file, graph in zip(INT8_GRAPHS, graphs, strict=False):
        onnx.save(graph, tmp_path / file)
    net.write_litert(tmp_path)
    compared = [
        compare_layers(name, net.model, net.points, net.ranges, trace, pixels(16), SIGNATURE)
        for name, trace in traces(tmp_path, INT8_GRAPHS, net.ranges, SIGNATURE, BATCH[:16])
    ]
    assert len(compared) >= 6
    for found in compared:
        assert found.passes, found
        assert found.elements > 10000


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_every_kernel_is_int8_and_every_input_of_it_a_pair(net, target):
    graph = net.graph(target).graph
    index = Index(graph)
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            for name in node.input[:2]:
                assert index.producer[name].op_type == "DequantizeLinear"
            pair = index.producer[index.producer[node.input[0]].input[0]]
            assert pair.op_type == "QuantizeLinear"


def test_tensorrts_graph_has_signed_types_with_zero_point_zero_and_float_biases(net):
    graph = net.graph("tensorrt").graph
    index = Index(graph)
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = index.array(node.input[2])
            assert zero.dtype == np.int8
            assert not zero.any()
        if node.op_type in ("Conv", "Gemm") and len(node.input) == 3:
            assert index.array(node.input[2]).dtype == np.float32


def test_the_cpus_graph_has_unsigned_activations_with_a_zero_point(net):
    graph = net.graph("cpu").graph
    index = Index(graph)
    zeros = [index.array(n.input[2]) for n in graph.node if n.op_type == "QuantizeLinear"]
    assert {zero.dtype for zero in zeros} == {np.dtype(np.uint8)}
    for name, point in only(net.points, "cpu").items():
        spec, zero = net.ranges[name], int(index.array(f"{name}.zero_point"))
        scale = float(index.array(f"{name}.scale"))
        assert -zero * scale <= spec.low * 0.999
        assert (255 - zero) * scale >= spec.high * 0.999
        assert scale <= (spec.high - spec.low) / 255 * 1.01
        assert point.signed or zero == 0


def test_no_chain_of_shape_operations_is_left(net):
    for model in (net.float_graph(), net.graph("cpu"), net.graph("tensorrt")):
        assert not {"Shape", "Gather", "Slice"} & set(kinds(model))
        assert kinds(model).count("Transpose") <= 1


def test_only_the_points_of_the_target_are_quantized(net):
    for target in ("cpu", "tensorrt"):
        graph = net.graph(target).graph
        index = Index(graph)
        scales = [
            float(index.array(node.input[1]))
            for node in graph.node
            if node.op_type == "QuantizeLinear"
        ]
        wanted = {net.ranges[name].scale(target) for name in only(net.points, target)}
        assert set(scales) == wanted


def test_nodes_with_a_kernel_have_the_names_of_their_layers(net):
    for model in (net.float_graph(), net.graph("cpu"), net.graph("tensorrt")):
        names = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
        assert len(set(names)) == len(names)
        assert {name.split(":")[0] for name in names} <= {x.name for x in net.model.layers}


def test_every_point_has_its_named_pair_with_its_exact_scale(net):
    for target in ("cpu", "tensorrt"):
        graph = net.graph(target)
        index = Index(graph.graph)
        assert quantized_tensors(graph).keys() == only(net.points, target).keys()
        for name in only(net.points, target):
            assert index.array(f"{name}.scale") == np.float32(net.ranges[name].scale(target))


def test_litert_computes_the_simulation_to_two_quanta_in_every_form(net, tmp_path):
    for form in net.write_litert(tmp_path):
        with litert.Runner(form, SIGNATURE) as engine:
            # Its sigmoid is rounded to steps of 1/256, which a swish carries on.
            assert quanta(net.simulated("litert"), engine.infer(BATCH)) <= QUANTA + 1


def test_the_opset_can_be_chosen(tmp_path):
    net = Quantized(randomized(ALL["residual"]()))
    older = int8_graph(net.model, net.points, net.ranges, SIGNATURE, "tensorrt", opset=13)
    assert older.opset_import[0].version == 13
    assert quanta(net.simulated("tensorrt"), run(older, tmp_path)) <= QUANTA
    halved = to_float16(float_graph(net.model, SIGNATURE, opset=18))
    assert halved.opset_import[0].version == 19
    expected = evaluate.logits(net.float, BATCH)
    assert compare(expected, run(halved, tmp_path)).max_relative_difference < 5e-3


def test_thousands_of_points_are_told_apart():
    net = Quantized(randomized(ALL["plain"]()))
    # Points before all others, of a tensor that the model does not have.
    nowhere, cpu = keras.Input(()), frozenset[Target]({"cpu"})
    others = {name: Point(name, nowhere, True, cpu) for name in map(str, range(5000))}
    ranges = {name: Range(-1.0, 1.0) for name in others}
    many = int8_graph(net.model, others | net.points, ranges | net.ranges, SIGNATURE, "cpu")
    assert many.SerializeToString() == net.graph("cpu").SerializeToString()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_network_becomes_the_same_bytes_however_much_was_converted_before(name):
    model = fold(randomized(NETWORKS[name]()))
    first, second = (float_graph(model, SIGNATURE).SerializeToString() for _ in range(2))
    assert first == second
