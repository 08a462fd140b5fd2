from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from stages.conversion.layer_parity import compare_layers
from stages.quantize import snap_biases
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.conversion.onnx.test_targets import ALL, Quantized
from tests.stages.networks import APPLICATIONS, NETWORKS, pixels, randomized


@pytest.mark.parametrize("name", [*NETWORKS, "squeezed"])
def test_every_layer_of_every_network_is_right_to_one_step(name):
    net = Quantized(randomized(ALL[name]()))
    snap_biases(net.model, net.points, net.ranges)
    found = compare_layers(
        net.model, net.points, net.ranges, net.graph("cpu"), SIGNATURE, pixels(64)
    )
    assert found.off_by_more == 0
    assert found.passes, found


def test_a_kernel_that_was_changed_in_the_graph_is_found_and_its_layer_named():
    net = Quantized(randomized(NETWORKS["plain"]()))
    graph = net.graph("cpu")
    second = [node for node in graph.graph.node if node.op_type == "Conv"][1]
    source = next(node for node in graph.graph.node if second.input[1] in node.output)
    kernel = next(t for t in graph.graph.initializer if t.name == source.input[0])
    values = numpy_helper.to_array(kernel).copy()
    values[0] = -values[0]
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    found = compare_layers(net.model, net.points, net.ranges, graph, SIGNATURE, pixels(8))
    assert not found.passes
    assert found.worst_point == list(net.points)[2]
    assert np.isfinite(found.elements)


def test_a_zero_point_that_is_one_off_is_found():
    net = Quantized(randomized(APPLICATIONS["squeezed"]()))
    graph = net.graph("cpu")
    swish = next(name for name in net.points if name.startswith("activation"))
    zero = next(t for t in graph.graph.initializer if t.name == f"{swish}.zero_point")
    value = numpy_helper.to_array(zero)
    zero.CopyFrom(numpy_helper.from_array(np.array(value + 1, np.uint8), zero.name))
    found = compare_layers(net.model, net.points, net.ranges, graph, SIGNATURE, pixels(8))
    assert not found.passes
    assert found.off_by_one + found.off_by_more > 0.05 * found.elements
