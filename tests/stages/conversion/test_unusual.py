"""Networks with what users write and no known architecture has, in every graph and engine."""

from __future__ import annotations

import pytest

from stages.conversion.litert import write_int8
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.targets import float_graph
from stages.engines import litert, openvino
from stages.numerics.parity import compare
from stages.quantize import snap_biases
from stages.training import evaluate
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.conversion.onnx.test_targets import BATCH, QUANTA, Quantized, quanta, run
from tests.stages.networks import UNUSUAL, randomized


@pytest.fixture(scope="module", params=list(UNUSUAL))
def net(request):
    net = Quantized(randomized(UNUSUAL[request.param]()))
    snap_biases(net.model, net.points, net.ranges)
    return net


def test_the_float_graphs_agree_with_keras(net, tmp_path):
    expected, graph = evaluate.logits(net.model, BATCH), float_graph(net.model, SIGNATURE)
    assert compare(expected, run(graph, tmp_path)).max_relative_difference < 1e-5
    halved = run(to_float16(graph), tmp_path)
    assert compare(expected, halved).max_relative_difference < 5e-3


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_the_int8_graph_agrees_with_the_simulation_to_two_quanta(net, target, tmp_path):
    assert quanta(net.simulated(target), run(net.graph(target), tmp_path)) <= QUANTA


def test_openvinos_integer_kernels_give_the_same(net):
    found = openvino.outputs(net.graph("cpu"), SIGNATURE, BATCH)["logits"]
    assert quanta(net.simulated("cpu"), found) <= QUANTA


def test_every_layer_of_the_integer_graph_is_right_to_one_step(net):
    graph = net.graph("cpu")
    found = net.compare_layers(graph)
    assert found.passes, found


def test_litert_computes_the_simulation_to_two_quanta(net, tmp_path):
    file = tmp_path / "model.int8.tflite"
    write_int8(file, net.model, net.points, net.ranges, SIGNATURE)
    with litert.Runner(file, SIGNATURE) as engine:
        assert quanta(net.simulated("litert"), engine.infer(BATCH)) <= QUANTA
