"""What TensorRT-RTX makes of a network in every precision, without a GPU: a table.

    python benchmarks/precisions.py CONVERT [CONVERT ...]
    python benchmarks/precisions.py --network MobileNetV2 --side 96

CONVERT is what the stage `convert` wrote with convert.extra_precisions=bf16,fp8. A network is one
of keras.applications with random weights and made-up ranges, which decide nothing about kernels.
They are those of the first optimisation profile, batches of 1. Accuracy is that of the graph as it
is written, node by node, on the images in samples.npz: what a GPU may be expected to give, not what
one gave.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from stages.artifacts.ranges import Range
from stages.artifacts.signature import Signature
from stages.conversion.onnx.bfloat16 import in_float32
from stages.engines.base import BuildReport, BuildRequest
from stages.engines.onnxruntime import interpret
from stages.engines.registry import ENGINES, Precision, precision_label
from stages.engines.tensorrt import rtx
from stages.errors import EngineError
from stages.settings import TensorRT

HEAD = "| {} | top-1 | kernels | matrix kernels by type | other generated kernels | engine |"
CAPABILITY = "8.9"
GRAPHS = ENGINES["tensorrt_rtx"].sources


def main() -> None:
    """Print a table for every folder, or for the network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="CONVERT")
    parser.add_argument("--network")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--compute-capability", default=CAPABILITY)
    options = parser.parse_args()
    for folder in options.folders:
        table(folder, folder.absolute().parent.name, options.compute_capability)
    if options.network:
        with tempfile.TemporaryDirectory() as draft:
            write_graphs(options.network, options.side, Path(draft))
            table(Path(draft), f"{options.network}, {options.side}", options.compute_capability)


def table(folder: Path, name: str, capability: str) -> None:
    """Print the table of the graphs in `folder`."""
    print(HEAD.format(name))
    print("| --- | ---: | ---: | --- | ---: | ---: |")
    for precision, file in GRAPHS.items():
        if (folder / file).is_file():
            print(row(folder, folder / file, precision, capability), flush=True)


def row(folder: Path, graph: Path, precision: Precision, capability: str) -> str:
    """Of one graph."""
    signature = Signature.read(folder)
    wanted = TensorRT.model_validate({"compute_capabilities": (capability,)})
    with tempfile.TemporaryDirectory() as draft:
        engine = Path(draft, "engine.rtx")
        request = BuildRequest(signature, precision, 1, (1,), tensorrt=wanted)
        try:
            cells = counts(rtx.build(graph, engine, request))
            size = f"{engine.stat().st_size / 1e6:.2f} MB"
        except EngineError as error:
            cells, size = f"{error.message} | |", ""
    right = top1(folder / "samples.npz", graph, precision, signature)
    return f"| {precision_label(precision)} | {right} | {cells} | {size} |"


def counts(report: BuildReport) -> str:
    """Three cells: all kernels, those of convolutions and matrix products, and generated ones for
    what is between them."""
    matrix = Counter(layer.executed for layer in report.layers if layer.requested)
    others = sum(layer.requested is None and layer.kind == "kgen" for layer in report.layers)
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(matrix.items(), key=str))
    return f"{len(report.layers)} | {words} | {others}"


def top1(file: Path, graph: Path, precision: Precision, signature: Signature) -> str:
    """Of what the graph means, on the samples in `file`; nothing where there are none."""
    if not file.is_file():
        return ""
    with np.load(file) as samples:
        images, labels = samples["images"], samples["labels"]
    is_bf16 = precision == "bf16"
    source = in_float32(onnx.load(graph)).SerializeToString() if is_bf16 else graph
    right = interpret(source, signature, images).argmax(axis=1) == labels
    return f"{np.mean(right):.2%}"


def write_graphs(name: str, side: int, folder: Path) -> None:
    """All graphs of a network of keras.applications, and their signature."""
    import keras

    from stages.conversion.onnx.float16 import to_bfloat16, to_float16
    from stages.conversion.onnx.preprocessing import prepend_preprocessing
    from stages.conversion.onnx.targets import float_graph, int8_graph
    from stages.keras_graph.fold import fold
    from stages.keras_graph.placement import points

    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(
        weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None
    )
    shape, classes = (side, side, 3), tuple("abcdefghij")
    signature = Signature(shape, classes, scale=1 / 255, offset=0.0, dtype="uint8")
    signature.write(folder)
    folded = fold(network)
    placed = points(folded, signature)
    ranges = {
        each: Range(*(point.limits or (-1.0 if point.signed else 0.0, 1.0)))
        for each, point in placed.items()
    }
    plain = float_graph(folded, signature)
    made = {
        "fp32": plain,
        "fp16": to_float16(plain),
        "bf16": to_bfloat16(plain),
        "int8": to_float16(int8_graph(folded, placed, ranges, signature, "tensorrt")),
        "fp8": to_float16(int8_graph(folded, placed, ranges, signature, "fp8")),
    }
    for precision, file in GRAPHS.items():
        onnx.save(prepend_preprocessing(made[precision], signature), folder / file)


if __name__ == "__main__":
    main()
