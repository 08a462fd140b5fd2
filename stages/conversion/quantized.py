"""The quantized graphs: what `quantize` made, written for every target and compared with Keras."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import keras
import onnx
from numpy.typing import NDArray

from stages import progress
from stages.artifacts import left_out, ranges
from stages.artifacts.ranges import Range
from stages.artifacts.signature import Signature
from stages.conversion.layer_parity import compare_layers
from stages.conversion.litert import run_tflite, write_int8
from stages.conversion.onnx.overflow import Wide, write_float16
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.conversion.onnx.targets import int8_graph
from stages.conversion.traces import traces
from stages.datasets.base import Split
from stages.engines.litert import paired_form
from stages.engines.onnxruntime import interpret
from stages.engines.registry import Target
from stages.keras_graph.placement import Point, points
from stages.measurement import parity
from stages.models import files
from stages.numerics.parity import Logits
from stages.results.conversion import LayerParity, ParityCheck
from stages.settings import Convert

CPU_GRAPH, TENSORRT_GRAPH = "model.int8.cpu.onnx", "model.int8.tensorrt.onnx"
INT8_GRAPHS: dict[str, Target] = {
    CPU_GRAPH: "cpu",
    "model.int8.tensorrt8.onnx": "tensorrt",
    TENSORRT_GRAPH: "tensorrt",
    "model.int8.tflite": "litert",
}
"""File -> the target whose rounding Keras simulates to compare with."""
FP8_GRAPHS: dict[str, Target] = {"model.fp8.onnx": "fp8"}
"""The same, if asked for."""
HALF_GRAPHS = (TENSORRT_GRAPH, *FP8_GRAPHS)
"""Those with a float16 rest."""


class Quantized(NamedTuple):
    """What `quantize` made: the folded model, its points that have a range, and the ranges."""

    model: keras.Model
    points: Mapping[str, Point]
    ranges: Mapping[str, Range]

    @classmethod
    def read(cls, folder: Path, signature: Signature) -> Quantized:
        """The network in the artifact `folder`. Raises ConversionError for damaged ranges."""
        folded = files.load(folder / "model.keras")
        placed = points(folded, signature)
        found = ranges.read(folder, placed)
        # Points without a range were left in float by quantize; they must stay so in every graph.
        return cls(folded, {name: placed[name] for name in found}, found)


def convert_quantized(
    network: Quantized,
    graphs: Mapping[str, Target],
    calibration: NDArray[Any],
    signature: Signature,
    settings: Convert,
    out: Path,
) -> Wide:
    """Write the quantized `graphs`; returns what float16 cannot hold."""
    wide = Wide()
    # Those of a target stand together: one graph is held at a time.
    for target, names in groupby(graphs, graphs.__getitem__):
        if target == "litert":
            for file in names:
                progress.report(file)
                with left_out.alone(out, file):
                    write_int8(out / file, *network, signature)
            continue
        progress.report(f"quantized for {target}")
        graph = int8_graph(*network, signature, target, settings.opset)
        for file in names:
            progress.report(file)
            if file in HALF_GRAPHS:
                wide |= write_float16(graph, calibration, signature, out / file)
            else:
                onnx.save(prepend_preprocessing(graph, signature), out / file)
        del graph
    return wide


def compare_quantized(
    graphs: Mapping[str, Target],
    logits: Mapping[str, Logits],
    differences: Mapping[str, NDArray[Any]],
    samples: Split,
    signature: Signature,
    out: Path,
) -> list[ParityCheck]:
    """Keras' simulations against Keras float, and each of `graphs` against its simulation.

    `differences` has, by simulation, what rounding explains. An ONNX graph is run as it is written,
    nothing fused; LiteRT has no such mode. A second form of a `.tflite` is compared as well.
    """
    base = logits[parity.KERAS_FLOAT]
    labels = samples.labels
    checks = [
        parity.simulation(name, base, logits[name], labels, signature) for name in differences
    ]
    for file, target in graphs.items():
        against = parity.fake_quantized(target)
        for form in (out / file, paired_form(out / file)):
            if form.is_file():
                # Not optimised: with its optimizer on, ONNX Runtime 1.31 computes
                # FP16 graphs with Q/DQ pairs wrongly (decision 7). A check of
                # TensorRT's graph must not fail on that.
                run = interpret if form.suffix == ".onnx" else run_tflite
                got = run(form, signature, samples.images[:])
                checks.append(
                    parity.check_int8(
                        form.name, against, logits[against], got, differences[against], signature
                    )
                )
    return checks


def compare_inside(
    network: Quantized,
    graphs: Mapping[str, Target],
    images: NDArray[Any],
    signature: Signature,
    out: Path,
) -> tuple[LayerParity, ...]:
    """Every layer of the quantized `graphs`, as written and as they run here, against Keras."""
    progress.report("layer by layer")
    made = traces(out, graphs, network.ranges, signature, signature.feed(images))
    return tuple(compare_layers(name, *network, trace, images, signature) for name, trace in made)
