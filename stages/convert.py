"""Stage `convert`: Keras models in, a graph for every kind of engine out, compared with Keras.

baseline.fp32.onnx          the trained model before pruning: the yardstick of the report
model.fp32.onnx             the pruned float model
model.fp16.onnx             the same in float16, float32 input and output
model.int8.tensorrt.onnx    and the other INT8 graphs: see onnx_graph/targets.py
model.int8.tflite           full INT8 from the same ranges
samples.npz                 test images, labels and Keras' logits, to check engines with
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx

from stages import datasets, evaluate, keras_files, progress, ranges, timing
from stages.datasets import Split
from stages.engines import litert
from stages.engines.base import Batch
from stages.engines.onnxruntime import Runner, interpret
from stages.errors import ConversionError
from stages.keras_graph.cost import multiply_adds
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points
from stages.litert_graph import int8_flatbuffer
from stages.numerics import latency
from stages.numerics.classification import metrics
from stages.numerics.parity import compare
from stages.onnx_graph.half import to_half
from stages.onnx_graph.targets import float_graph, int8_graph
from stages.ranges import Range, Target
from stages.settings import Convert, ConvertStage
from stages.signature import Signature

BATCH = 256
FLOAT_GRAPHS = {"baseline.fp32.onnx": "train", "model.fp32.onnx": "prune"}
"""File -> the stage whose model it is."""
INT8_GRAPHS: dict[str, Target] = {
    "model.int8.cpu.onnx": "cpu",
    "model.int8.tensorrt8.onnx": "tensorrt",
    "model.int8.tensorrt.onnx": "tensorrt",
    "model.int8.tflite": "litert",
}
"""File -> the target whose rounding Keras simulates to compare with."""


def run(settings: ConvertStage, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Write all graphs, `samples.npz` and `signature.json` into `out`.

    Raises ConversionError if a graph is invalid, or if a float32 graph differs from Keras by
    more than `convert.max_relative_difference`. Returns accuracy and latency of the INT8 CPU
    graph in ONNX Runtime, and the comparison of every graph with Keras.
    """
    signature = Signature.read(inputs["quantize"])
    signature.write(out)
    test = datasets.load_test(settings.data)
    samples = test.take(np.arange(min(settings.convert.parity_samples, len(test))))
    images = signature.preprocess(samples.images)
    parity = convert_float(inputs, images, signature, settings.convert, out)
    folded = keras_files.load(inputs["quantize"] / "model.keras")
    logits = convert_int8(folded, ranges.read(inputs["quantize"]), images, signature, out)
    parity += [
        compare_with_keras(file, logits[target], images, signature, out)
        for file, target in INT8_GRAPHS.items()
    ]
    reference = logits["cpu"]
    np.savez(out / "samples.npz", images=samples.images, labels=samples.labels, logits=reference)
    return {
        "model": {
            "file": "model.int8.cpu.onnx",
            "parameters": int(folded.count_params()),
            "multiply_adds": multiply_adds(folded),
        },
        **measure("model.int8.cpu.onnx", test, signature, out),
        "details": {"parity": parity},
    }


def convert_float(
    inputs: Mapping[str, Path], images: Batch, signature: Signature, settings: Convert, out: Path
) -> list[dict[str, Any]]:
    """Write the float graphs and compare each with its Keras model on `images`.

    Raises ConversionError where float32 differs by more than the settings allow.
    """
    parity = []
    for file, stage in FLOAT_GRAPHS.items():
        progress.report(file)
        model = keras_files.load(inputs[stage] / "model.keras")
        logits = evaluate.logits(model, images)
        onnx.save(float_graph(fold(model), signature), out / file)
        parity.append(compare_with_keras(file, logits, images, signature, out))
        _check(parity[-1], settings.max_relative_difference)
    progress.report("model.fp16.onnx")
    onnx.save(to_half(onnx.load(out / "model.fp32.onnx")), out / "model.fp16.onnx")
    return [*parity, compare_with_keras("model.fp16.onnx", logits, images, signature, out)]


def convert_int8(
    folded: keras.Model,
    found: Mapping[str, Range],
    images: Batch,
    signature: Signature,
    out: Path,
) -> dict[Target, Batch]:
    """Write the INT8 graphs; returns Keras' simulated INT8 logits for `images` by target."""
    placed = points(folded, signature)
    missing = sorted(placed.keys() - found.keys())
    if missing:
        raise ConversionError(
            f"{ranges.FILE} has no range for {missing[0]!r}", "run: pipeline run quantize"
        )
    cpu, tensorrt8, tensorrt, tflite = INT8_GRAPHS
    for file in (cpu, tensorrt8):
        progress.report(file)
        graph = int8_graph(folded, placed, found, signature, INT8_GRAPHS[file])
        onnx.save(graph, out / file)
    onnx.save(to_half(graph), out / tensorrt)
    progress.report(tflite)
    (out / tflite).write_bytes(int8_flatbuffer(folded, placed, found, signature))
    targets = dict.fromkeys(INT8_GRAPHS.values())
    return {t: evaluate.logits(simulate(folded, placed, found, t), images) for t in targets}


def compare_with_keras(
    file: str, reference: Batch, images: Batch, signature: Signature, out: Path
) -> dict[str, Any]:
    """Compare the logits of the graph `file` with Keras' `reference`.

    An ONNX graph is run as it is written, nothing fused; LiteRT has no such mode.
    """
    if file.endswith(".onnx"):
        return {"graph": file, **compare(reference, interpret(out / file, signature, images))}
    with litert.Runner(out / file, signature) as engine:
        return {"graph": file, **compare(reference, engine.infer(images))}


def _check(found: dict[str, Any], limit: float) -> None:
    if found["max_relative_difference"] > limit:
        raise ConversionError(
            f"{found['graph']} differs from Keras by {found['max_relative_difference']:.1e} "
            f"of the largest output, allowed is {limit:.1e}",
            "report the model's layers as a bug, or raise convert.max_relative_difference",
        )


def measure(file: str, test: Split, signature: Signature, out: Path) -> dict[str, Any]:
    """Accuracy of the graph `file` in ONNX Runtime on `test`, and its latency at batch 1."""
    images = signature.preprocess(test.images)
    with Runner(out / file, signature) as engine:
        parts = [engine.infer(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
        samples = timing.measure({file: lambda: engine.infer(images[:1])}, 0.2, 0.5)[file]
    row = latency.row(samples, batch_size=1, runtime="onnxruntime", precision="int8", threads=1)
    return {"accuracy": metrics(np.concatenate(parts), test.labels), "latency": [row]}
