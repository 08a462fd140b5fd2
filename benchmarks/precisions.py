"""What TensorRT-RTX makes of a converted network in every precision, without a GPU: a table.

    python benchmarks/precisions.py CONVERT [CONVERT ...]

CONVERT is what the stage `convert` wrote with convert.extra_precisions=bf16,fp8. Kernels are those
of the first optimisation profile, batches of 1. Accuracy is that of the graph as it is written,
node by node, on the images in samples.npz: what a GPU may be expected to give, not what one gave.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from stages.artifacts.signature import Signature
from stages.conversion.onnx.bfloat16 import in_float32
from stages.engines.base import BuildReport, BuildRequest, Logits
from stages.engines.onnxruntime import interpret
from stages.engines.registry import ENGINES, Precision, precision_label
from stages.engines.tensorrt import rtx
from stages.errors import EngineError
from stages.settings import TensorRT

HEAD = "| {} | graph | top-1 | kernels | matrix kernels by type | requantize or cast | engine |"
CAPABILITY = "8.9"


def main() -> None:
    """Print a table for every folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="CONVERT")
    parser.add_argument("--compute-capability", default=CAPABILITY)
    options = parser.parse_args()
    for folder in options.folders:
        print(HEAD.format(folder.absolute().parent.name))
        print("| --- | --- | ---: | ---: | --- | ---: | ---: |")
        for precision, file in ENGINES["tensorrt_rtx"].sources.items():
            if (folder / file).is_file():
                print(row(folder, file, precision, options.compute_capability), flush=True)
        print()


def row(folder: Path, file: str, precision: Precision, capability: str) -> str:
    """Of one graph."""
    signature = Signature.read(folder)
    with np.load(folder / "samples.npz") as samples:
        images, labels = samples["images"], samples["labels"]
    right = np.mean(logits(folder / file, precision, signature, images).argmax(axis=1) == labels)
    wanted = TensorRT.model_validate({"compute_capabilities": (capability,)})
    with tempfile.TemporaryDirectory() as draft:
        engine = Path(draft, "engine.rtx")
        request = BuildRequest(signature, precision, 1, (1,), tensorrt=wanted)
        try:
            cells = counts(rtx.build(folder / file, engine, request))
            size = f"{engine.stat().st_size / 1e6:.2f} MB"
        except EngineError as error:
            cells, size = f"{error.message[:60]} | |", ""
    return f"| {precision_label(precision)} | {file} | {right:.2%} | {cells} | {size} |"


def counts(report: BuildReport) -> str:
    """Three cells: all kernels, those of convolutions and matrix products, and conversions."""
    matrix = Counter(layer.executed for layer in report.layers if layer.requested)
    moves = sum(layer.requested is None and layer.kind == "kgen" for layer in report.layers)
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(matrix.items(), key=str))
    return f"{len(report.layers)} | {words} | {moves}"


def logits(file: Path, precision: Precision, signature: Signature, images: np.ndarray) -> Logits:
    """What the graph means."""
    if precision == "bf16":
        return interpret(in_float32(onnx.load(file)).SerializeToString(), signature, images)
    return interpret(file, signature, images)


if __name__ == "__main__":
    main()
