"""A network with all its graphs in a folder, and engines of this machine that are made of them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import keras
import onnx
import pytest

from stages.artifacts.signature import Fed, Signature
from stages.conversion.explained import explained_difference
from stages.conversion.litert import write_float
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.conversion.quantized import INT8_GRAPHS
from stages.engines import litert, onnxruntime, openvino
from stages.engines.base import BuildRequest, Engine
from stages.engines.registry import ENGINES as ENGINE_SPECS
from stages.engines.registry import Precision, Target
from stages.engines.tensorrt import rtx
from stages.engines.tensorrt.layers import Kernel, from_message
from stages.keras_graph.fold import fold
from stages.measurement import parity
from stages.results.conversion import ParityCheck
from stages.settings import TensorRT
from stages.training import evaluate
from tests.stages.conversion.onnx.test_targets import Quantized
from tests.stages.conversion.test_layer_parity import convert_int8
from tests.stages.networks import randomized

FLOAT_GRAPH, HALF_GRAPH, FLOAT_TFLITE = "model.fp32.onnx", "model.fp16.onnx", "model.fp32.tflite"
ENGINES: dict[str, tuple[Any, str, str]] = {
    "onnxruntime.fp32": (onnxruntime, FLOAT_GRAPH, ".onnx"),
    "openvino.fp32": (openvino, FLOAT_GRAPH, ".openvino"),
    "litert.fp32": (litert, FLOAT_TFLITE, ".tflite"),
    "onnxruntime.int8": (onnxruntime, "model.int8.cpu.onnx", ".onnx"),
    "openvino.int8": (openvino, "model.int8.cpu.onnx", ".openvino"),
    "litert.int8": (litert, "model.int8.tflite", ".tflite"),
}
"""The module, the graph that it takes, and what its files end in."""


class AllGraphs:
    """A randomised `model`, calibrated on `batch`, with all its graphs in a folder."""

    def __init__(self, model: keras.Model, signature: Signature, batch: Fed, folder: Path) -> None:
        self.net, self.folder = Quantized(randomized(model), signature, batch), folder
        self.takes_pixels = signature.fed_as("uint8")
        graph = self.net.float_graph()
        for file, each in ((FLOAT_GRAPH, graph), (HALF_GRAPH, to_float16(graph))):
            onnx.save(prepend_preprocessing(each, self.takes_pixels), folder / file)
        write_float(folder / FLOAT_TFLITE, fold(self.net.float), self.takes_pixels)
        convert_int8(self.net, folder)
        self.expected = evaluate.logits(self.net.float, batch, signature)

    @functools.cache  # noqa: B019 - one network, gone with the module
    def explained(self, target: Target) -> Any:
        net = self.net
        network = (net.model, net.points, net.ranges)
        return explained_difference(*network, target, net.batch, net.simulated(target))

    def check(self, file: str, got: Any) -> ParityCheck:
        """What a graph gave against Keras float, or the simulation of its target."""
        target = INT8_GRAPHS.get(file)
        if target is None:
            limit = parity.FLOAT16_RELATIVE if "fp16" in file else parity.FLOAT32_RELATIVE
            return parity.check_float(file, self.expected, got, self.takes_pixels, limit)
        against, right = parity.fake_quantized(target), self.net.simulated(target)
        explained = self.explained(target)
        return parity.check_int8(file, against, right, got, explained, self.takes_pixels)

    def engine(self, name: str, folder: Path, source: Path | None = None) -> Engine:
        """Built in `folder` from the graphs in `source`, by default its own; not opened."""
        module, graph, suffix = ENGINES[name]
        given, out = (source or self.folder) / graph, folder / f"{name}{suffix}"
        if module is onnxruntime:
            module.build(given, out, BuildRequest(self.takes_pixels, "fp32"))
        elif module is openvino:
            module.write(given, out)
        else:
            out.write_bytes(given.read_bytes())
        return module.Runner(out, self.takes_pixels)

    def rtx_kernels(self, precision: Precision, folder: Path) -> list[Kernel]:
        """Of an engine of TensorRT-RTX, which is built in `folder` for a GPU that need not be here.

        Skips the test where it is not installed.
        """
        pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
        source = self.folder / ENGINE_SPECS["tensorrt_rtx"].sources[precision]
        one_gpu = TensorRT(compute_capabilities=("8.9",))
        request = BuildRequest(self.takes_pixels, precision, max_batch_size=4, tensorrt=one_gpu)
        rtx.build(source, folder / "engine.rtx", request)
        return from_message((folder / "engine.rtx.layers.txt").read_text())
