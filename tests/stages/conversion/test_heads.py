"""Networks with several outputs, through every converter and every engine of this machine."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stages.conversion.explained import explained_difference
from stages.conversion.litert import write_float
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.convert import INT8_GRAPHS
from stages.engines import litert, onnxruntime, openvino
from stages.engines.base import BuildRequest, Engine
from stages.engines.cuda.memory import gpu_blocker
from stages.engines.onnxruntime import interpret
from stages.engines.registry import ENGINES as ENGINE_SPECS
from stages.engines.registry import Target
from stages.engines.tensorrt import rtx
from stages.engines.tensorrt.layers import from_message
from stages.errors import EngineError
from stages.keras_graph.fold import fold
from stages.measurement import accuracy, parity
from stages.numerics import fields
from stages.results.conversion import ParityCheck
from stages.settings import TensorRT
from stages.training import evaluate
from tests.stages.conversion.mutants import swap_names
from tests.stages.conversion.onnx.test_targets import BATCH, Quantized
from tests.stages.conversion.test_layer_parity import Converted, convert_int8
from tests.stages.heads import SIGNATURE, detector
from tests.stages.networks import pixels, randomized

TAKES_PIXELS = dataclasses.replace(SIGNATURE, dtype="uint8")
FLOAT_GRAPH, HALF_GRAPH, FLOAT_TFLITE = "model.fp32.onnx", "model.fp16.onnx", "model.fp32.tflite"
ENGINES: dict[str, tuple[Any, str, str]] = {
    "onnxruntime.fp32": (onnxruntime, FLOAT_GRAPH, ".onnx"),
    "openvino.fp32": (openvino, FLOAT_GRAPH, ".openvino"),
    "litert.fp32": (litert, FLOAT_TFLITE, ".tflite"),
    "onnxruntime.int8": (onnxruntime, "model.int8.cpu.onnx", ".onnx"),
    "openvino.int8": (openvino, "model.int8.cpu.onnx", ".openvino"),
    "litert.int8": (litert, "model.int8.tflite", ".tflite"),
}


class Network:
    """The detector with all its graphs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.net, self.folder = Quantized(randomized(detector()), SIGNATURE), folder
        graph = self.net.float_graph()
        for file, each in ((FLOAT_GRAPH, graph), (HALF_GRAPH, to_float16(graph))):
            onnx.save(prepend_preprocessing(each, TAKES_PIXELS), folder / file)
        write_float(folder / FLOAT_TFLITE, fold(self.net.float), TAKES_PIXELS)
        convert_int8(self.net, folder)
        self.expected = evaluate.logits(self.net.float, BATCH, SIGNATURE)

    @functools.cache  # noqa: B019 - one network, gone with the module
    def explained(self, target: Target) -> Any:
        net = self.net
        network = (net.model, net.points, net.ranges)
        return explained_difference(*network, target, BATCH, net.simulated(target))

    def check(self, name: str, target: Target | None, got: Any) -> ParityCheck:
        """Against Keras float, or the simulation of a target."""
        if target is None:
            limit = parity.FLOAT16_RELATIVE if "fp16" in name else parity.FLOAT32_RELATIVE
            return parity.check_float(name, self.expected, got, TAKES_PIXELS, limit)
        against, right = parity.fake_quantized(target), self.net.simulated(target)
        return parity.check_int8(name, against, right, got, self.explained(target), TAKES_PIXELS)


def engine_of(name: str, source: Path, folder: Path) -> Engine:
    """Built from the graphs in `source`, not opened."""
    module, graph, suffix = ENGINES[name]
    out = folder / f"{name}{suffix}"
    if module is onnxruntime:
        module.build(source / graph, out, BuildRequest(TAKES_PIXELS, "fp32"))
    elif module is openvino:
        module.write(source / graph, out)
    else:
        out.write_bytes((source / graph).read_bytes())
    return module.Runner(out, TAKES_PIXELS)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return Network(tmp_path_factory.mktemp("graphs"))


@pytest.mark.parametrize("file", [FLOAT_GRAPH, HALF_GRAPH, *list(INT8_GRAPHS)[:3]])
def test_a_graph_returns_every_output_under_its_name_and_in_its_place(network, file):
    graph = onnx.load(network.folder / file)
    assert tuple(output.name for output in graph.graph.output) == SIGNATURE.output_names
    got = interpret(network.folder / file, TAKES_PIXELS, pixels(64))
    found = network.check(file, INT8_GRAPHS.get(file), got)
    assert found.passed, found
    assert found.output in SIGNATURE.output_names


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_returns_every_output_by_its_name(network, name, tmp_path):
    target: dict[str, Target] = {"litert.int8": "litert"}
    with engine_of(name, network.folder, tmp_path) as engine:
        got = accuracy.logits(engine, pixels(64), 5)
        one = engine.infer(TAKES_PIXELS.feed(pixels(64)[:1]))
    assert fields.names(got) == SIGNATURE.output_names
    assert {each.dtype for each in fields.parts(got)} == {np.dtype(np.float32)}
    found = network.check(name, target.get(name, "cpu") if "int8" in name else None, got)
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
    target: Target = INT8_GRAPHS[file]
    (tmp_path / file).write_bytes((network.folder / file).read_bytes())
    swap_names(tmp_path / file, "box", "pose")
    runner = litert.Runner if file.endswith("tflite") else onnxruntime.Runner
    with runner(tmp_path / file, TAKES_PIXELS) as engine:
        found = network.check(file, target, accuracy.logits(engine, pixels(64), 64))
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
        engine_of(name, tmp_path, tmp_path).open()


@pytest.mark.skipif(gpu_blocker() is None, reason="with a GPU its inspector tells the layers")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_tensorrt_rtx_builds_an_engine_that_makes_every_output(network, precision, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    source = network.folder / ENGINE_SPECS["tensorrt_rtx"].sources[precision]
    one_gpu = TensorRT(compute_capabilities=("8.9",))
    request = BuildRequest(TAKES_PIXELS, precision, max_batch_size=4, tensorrt=one_gpu)
    rtx.build(source, tmp_path / "engine.rtx", request)
    kernels = from_message((tmp_path / "engine.rtx.layers.txt").read_text())
    assert {name for each in kernels for name in each.makes} >= set(SIGNATURE.output_names)
