"""Networks with several outputs, through every converter and every engine of this machine."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from stages.conversion.quantized import INT8_GRAPHS
from stages.engines import litert, onnxruntime
from stages.engines.cuda.memory import gpu_blocker
from stages.engines.onnxruntime import interpret
from stages.errors import EngineError
from stages.measurement import accuracy
from stages.numerics import fields
from tests.stages.conversion.all_graphs import ENGINES, FLOAT_GRAPH, HALF_GRAPH, AllGraphs
from tests.stages.conversion.mutants import swap_names
from tests.stages.conversion.onnx.test_targets import BATCH
from tests.stages.conversion.test_layer_parity import Converted
from tests.stages.heads import SIGNATURE, detector
from tests.stages.networks import pixels

TAKES_PIXELS = SIGNATURE.fed_as("uint8")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> AllGraphs:
    return AllGraphs(detector(), SIGNATURE, BATCH, tmp_path_factory.mktemp("graphs"))


@pytest.mark.parametrize("file", [FLOAT_GRAPH, HALF_GRAPH, *list(INT8_GRAPHS)[:3]])
def test_a_graph_returns_every_output_under_its_name_and_in_its_place(network, file):
    graph = onnx.load(network.folder / file)
    assert tuple(output.name for output in graph.graph.output) == SIGNATURE.output_names
    got = interpret(network.folder / file, TAKES_PIXELS, pixels(64))
    found = network.check(file, got)
    assert found.passed, found
    assert found.output in SIGNATURE.output_names


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_returns_every_output_by_its_name(network, name, tmp_path):
    with network.engine(name, tmp_path) as engine:
        got = accuracy.logits(engine, pixels(64), 5)
        one = engine.infer(TAKES_PIXELS.feed(pixels(64)[:1]))
    assert fields.names(got) == SIGNATURE.output_names
    assert {each.dtype for each in fields.parts(got)} == {np.dtype(np.float32)}
    found = network.check(ENGINES[name][1], got)
    assert found.passed, found
    np.testing.assert_allclose(one["box"], got["box"][:1], rtol=1e-4, atol=1e-4)


def test_every_output_is_right_given_what_came_before_it(network):
    judged = Converted(network.net, network.folder).judge(network.folder, TAKES_PIXELS)
    assert len(judged) == 6
    assert [each for each in judged if not each.passes] == []


def test_what_rounding_explains_is_told_for_each_output(network):
    found = network.explained("cpu")
    assert fields.names(found) == SIGNATURE.output_names
    shapes = [own.shape_of_output for own in SIGNATURE.each]
    assert [each.shape for each in fields.parts(found)] == [shape[-1:] for shape in shapes]
    assert all(each.max() > 0 for each in fields.parts(found))
    assert found["kind"].max() < found["raw"].max()


@pytest.mark.parametrize("file", ["model.int8.cpu.onnx", "model.int8.tflite"])
def test_a_swapped_pair_of_outputs_of_one_shape_is_found(network, file, tmp_path):
    (tmp_path / file).write_bytes((network.folder / file).read_bytes())
    swap_names(tmp_path / file, "box", "pose")
    runner = litert.Runner if file.endswith("tflite") else onnxruntime.Runner
    with runner(tmp_path / file, TAKES_PIXELS) as engine:
        found = network.check(file, accuracy.logits(engine, pixels(64), 64))
    assert not found.passed
    assert found.output in ("box", "pose")
    judged = Converted(network.net, tmp_path).judge(tmp_path, TAKES_PIXELS)
    assert {each.passes for each in judged} == {False}
    assert {each.worst_point for each in judged} <= {"the output 'box'", "the output 'pose'"}


@pytest.mark.parametrize("name", ["onnxruntime.fp32", "openvino.fp32", "litert.fp32"])
def test_a_swapped_pair_of_outputs_of_other_shapes_does_not_open(network, name, tmp_path):
    source = ENGINES[name][1]
    (tmp_path / source).write_bytes((network.folder / source).read_bytes())
    swap_names(tmp_path / source, "kind", "box")
    with pytest.raises(EngineError, match=r"its shape of 'kind' is \(4,\), expected \(3,\)"):
        network.engine(name, tmp_path, tmp_path).open()


@pytest.mark.skipif(gpu_blocker() is None, reason="with a GPU its inspector tells the layers")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_tensorrt_rtx_builds_an_engine_that_makes_every_output(network, precision, tmp_path):
    kernels = network.rtx_kernels(precision, tmp_path)
    assert {name for each in kernels for name in each.makes} >= set(SIGNATURE.output_names)
