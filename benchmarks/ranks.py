"""Layers of signals and volumes in every engine: which compute right, and in which precision.

    python benchmarks/ranks.py [NAME ...] [--json FILE]

Each layer, or those that are named, in a small network of random weights with a convolution of the
same rank before it and batch normalisation behind it, if it has a kernel: pruned, folded,
calibrated, converted and built. Prints a Markdown table. A cell has the precision in which the
engine computes the layer's own kernel, or "yes" for a layer without one, if its outputs are those
of Keras: those of the float model within 1e-4, 1e-2 in FP16, and in INT8 those of the simulation
within what rounding explains. TensorRT-RTX is built and not run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import onnx
from keras import layers
from prune_exactness import relative_difference

from stages.artifacts.ranges import Range, covering
from stages.artifacts.signature import LAYOUTS, Signature
from stages.conversion.explained import explained_difference
from stages.conversion.litert import write_float, write_int8
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.targets import float_graph, int8_graph
from stages.engines import modules
from stages.engines.base import BuildReport, BuildRequest
from stages.engines.registry import ENGINES, EngineName, Target
from stages.errors import UserError
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points
from stages.measurement import parity
from stages.training import evaluate

SHAPES = {1: (32, 3), 3: (6, 8, 8, 2)}
"""By the number of places: one sample."""
SAMPLES, CLASSES, FILTERS = 64, 5, 16
LAYER = "layer"
PRUNE_LIMIT = 1e-5
ENGINES_SHOWN = tuple(
    EngineName(backend, precision)
    for backend, precisions in {
        "onnxruntime": ("fp32", "int8"),
        "litert": ("fp32", "int8"),
        "openvino": ("fp32", "int8"),
        "tensorrt_rtx": ("fp16", "int8"),
    }.items()
    for precision in precisions
)
SAME: dict[str, Any] = {"padding": "same", "name": LAYER}
NAMED = {"name": LAYER}
LAYERS: dict[str, Callable[[], Any]] = {
    "Conv1D": lambda: layers.Conv1D(FILTERS, 3, **SAME),
    "Conv1D, stride 2": lambda: layers.Conv1D(FILTERS, 3, strides=2, **SAME),
    "Conv1D, dilation 2": lambda: layers.Conv1D(FILTERS, 3, dilation_rate=2, **SAME),
    "Conv1D, causal": lambda: layers.Conv1D(FILTERS, 3, padding="causal", name=LAYER),
    "DepthwiseConv1D": lambda: layers.DepthwiseConv1D(3, **SAME),
    "DepthwiseConv1D, stride 2": lambda: layers.DepthwiseConv1D(3, strides=2, **SAME),
    "SeparableConv1D": lambda: layers.SeparableConv1D(FILTERS, 3, **SAME),
    "Conv1DTranspose": lambda: layers.Conv1DTranspose(FILTERS, 4, strides=2, **SAME),
    "MaxPooling1D": lambda: layers.MaxPooling1D(2, **NAMED),
    "AveragePooling1D": lambda: layers.AveragePooling1D(2, **NAMED),
    "GlobalMaxPooling1D": lambda: layers.GlobalMaxPooling1D(keepdims=True, **NAMED),
    "GlobalAveragePooling1D": lambda: layers.GlobalAveragePooling1D(keepdims=True, **NAMED),
    "UpSampling1D": lambda: layers.UpSampling1D(2, **NAMED),
    "ZeroPadding1D": lambda: layers.ZeroPadding1D(2, **NAMED),
    "Cropping1D": lambda: layers.Cropping1D(2, **NAMED),
    "Conv3D": lambda: layers.Conv3D(FILTERS, 3, **SAME),
    "Conv3D, stride 2": lambda: layers.Conv3D(FILTERS, 3, strides=2, **SAME),
    "Conv3DTranspose": lambda: layers.Conv3DTranspose(FILTERS, 2, strides=2, **SAME),
    "MaxPooling3D": lambda: layers.MaxPooling3D(2, **NAMED),
    "AveragePooling3D": lambda: layers.AveragePooling3D(2, **NAMED),
    "GlobalMaxPooling3D": lambda: layers.GlobalMaxPooling3D(keepdims=True, **NAMED),
    "GlobalAveragePooling3D": lambda: layers.GlobalAveragePooling3D(keepdims=True, **NAMED),
    "UpSampling3D": lambda: layers.UpSampling3D(2, **NAMED),
    "ZeroPadding3D": lambda: layers.ZeroPadding3D(1, **NAMED),
    "Cropping3D": lambda: layers.Cropping3D(1, **NAMED),
}


def network(layer: Any, rank: int) -> keras.Model:
    """`layer` between a convolution and a mean of all places, with random weights."""
    first = {1: layers.Conv1D, 3: layers.Conv3D}[rank]
    mean = {1: layers.GlobalAveragePooling1D, 3: layers.GlobalAveragePooling3D}[rank]
    sample = keras.Input(SHAPES[rank], name="sample")
    x = first(FILTERS, 3, padding="same", activation="relu", name="first")(sample)
    x = layer(x)
    if layer.weights:
        x = layers.ReLU()(layers.BatchNormalization()(x))
    model = keras.Model(sample, layers.Dense(CLASSES, name="classes")(mean()(x)))
    random = np.random.default_rng(0)
    for norm in (each for each in model.layers if isinstance(each, layers.BatchNormalization)):
        width = (norm.gamma.shape[0],)
        low_high = ((0.5, 1.5), (-0.5, 0.5), (-0.2, 0.2), (0.5, 1.5))
        norm.set_weights([random.uniform(*ends, width) for ends in low_high])
    return model


class Examined:
    """A network with one layer of a kind, folded and calibrated, and what Keras says of samples."""

    def __init__(self, name: str) -> None:
        keras.utils.set_random_seed(0)
        rank = 1 if "1D" in name else 3
        self.model = network(LAYERS[name](), rank)
        shape = SHAPES[rank]
        self.signature = Signature(
            shape,
            tuple("abcde"),
            1.0,
            0.0,
            layout=LAYOUTS[len(shape)],
            data_dtype="float32",
        )
        random = np.random.default_rng(1)
        self.samples = random.normal(size=(SAMPLES, *shape)).astype(np.float32)
        self.expected = evaluate.logits(self.model, self.samples)
        self.folded = fold(self.model)
        self.points = points(self.folded, self.signature)
        tensors = [point.tensor for point in self.points.values()]
        seen = keras.Model(self.folded.inputs[0], tensors)(self.samples, training=False)
        values = map(np.asarray, keras.tree.flatten(seen))
        self.ranges: Mapping[str, Range] = {
            each: covering(value) for each, value in zip(self.points, values, strict=True)
        }

    def pruned(self) -> str:
        """Whether half of its channels, zeros before, can go without a change."""
        found = relative_difference(self.model, self.samples[:4])
        return "exact" if found <= PRUNE_LIMIT else f"differs by {found:.0e}"

    def graph(self, target: Target | None) -> onnx.ModelProto:
        """In float32, or as INT8 for `target`."""
        if target is None:
            return float_graph(self.folded, self.signature)
        return int8_graph(self.folded, self.points, self.ranges, self.signature, target)

    def write(self, engine: EngineName, file: Path) -> None:
        """The file that `engine` is built from."""
        is_int8 = engine.precision == "int8"
        if engine.backend == "litert":
            quantized = (self.points, self.ranges, self.signature)
            if is_int8:
                write_int8(file, self.folded, *quantized)
            else:
                write_float(file, self.folded, self.signature)
            return
        graph = self.graph(ENGINES[engine.backend].rounding if is_int8 else None)
        onnx.save(to_float16(graph) if engine.backend == "tensorrt_rtx" else graph, file)

    def in_engine(self, engine: EngineName, folder: Path) -> str:
        """How `engine` computes the layer. Raises what the conversion, build or run raise."""
        source = folder / ("model.tflite" if engine.backend == "litert" else "model.onnx")
        self.write(engine, source)
        module, file = modules.load(engine.backend), folder / "engine"
        report = module.build(source, file, BuildRequest(self.signature, engine.precision))
        if ENGINES[engine.backend].device == "cpu":
            with module.Runner(file, self.signature) as opened:
                difference = self.difference(engine, opened.infer(self.samples))
            if difference:
                return difference
        return self.precision(report or BuildReport())

    def difference(self, engine: EngineName, got: Any) -> str | None:
        """What is wrong with the outputs of `engine`, if anything."""
        if engine.precision != "int8":
            check = parity.check_float(
                "engine", self.expected, got, self.signature, parity.RELATIVE[engine.precision]
            )
        else:
            target = ENGINES[engine.backend].rounding
            network = (self.folded, self.points, self.ranges)
            simulated = evaluate.logits(simulate(*network, target), self.samples)
            most = explained_difference(*network, target, self.samples[:8], simulated[:8])
            check = parity.check_int8("engine", "", simulated, got, most, self.signature)
        return None if check.passed else f"wrong by {check.max_relative_difference:.0e}"

    def precision(self, report: BuildReport) -> str:
        """In which precision the kernel of the layer runs; "yes" if it has none."""
        if not self.model.get_layer(LAYER).weights:
            return "yes"
        own = [
            each.executed or "?"
            for each in report.layers
            if any(name.split(":")[0].startswith(LAYER) for name in each.nodes) and each.requested
        ]
        return ", ".join(dict.fromkeys(own)) or "not found"


def rows(names: list[str]) -> Iterator[dict[str, str]]:
    """What was found, by column; what fails in an engine is the cell of that engine alone."""
    for name in names:
        row = {"layer": name}
        try:
            examined = Examined(name)
            row["pruned"] = attempt(examined.pruned)
        except Exception as error:
            row["pruned"] = said(error)
            yield row
            continue
        for engine in ENGINES_SHOWN:
            with tempfile.TemporaryDirectory() as folder:
                found = partial(examined.in_engine, engine, Path(folder))
                row[str(engine)] = attempt(found)
        yield row


def attempt(find: Callable[[], str]) -> str:
    """What `find` returns, or says when it fails."""
    try:
        return find()
    except Exception as error:
        return said(error)


def said(error: Exception) -> str:
    """One short line."""
    words = error.message if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return f"no: {' '.join(words.split())[:160]}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    names = [each for each in LAYERS if not given.names or each in given.names]
    columns = ["layer", "pruned", *map(str, ENGINES_SHOWN)]
    print("|", " | ".join(columns), "|")
    print("|", " | ".join("---" for _ in columns), "|")
    found = []
    for row in rows(names):
        found.append(row)
        print("|", " | ".join(row.get(column, "") for column in columns), "|", flush=True)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
