"""Every architecture of keras.applications, and those of networks.py, through convert, quantize,
ONNX Runtime and RTX.

    python benchmarks/coverage.py [--results FILE] [--only NAME ...] [--limit SECONDS]

Weights are random, batch statistics those of a random batch, moved a little; the input is the
smallest that the architecture takes. One child process and one JSON line per architecture:
what is in the results file already is not run again. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ARCHITECTURES = (
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"),
    *("ResNet50V2", "ResNet50", "DenseNet121", "EfficientNetV2B0", "EfficientNetB0"),
    *("ConvNeXtTiny", "Xception", "NASNetMobile", "InceptionV3", "VGG16", "VGG19"),
    *("EfficientNetV2B1", "EfficientNetB1", "ResNet101V2", "ResNet101", "DenseNet169"),
    *("EfficientNetV2B2", "EfficientNetB2", "ConvNeXtSmall", "DenseNet201"),
    *("EfficientNetV2B3", "EfficientNetB3", "ResNet152V2", "ResNet152", "EfficientNetV2S"),
    *("EfficientNetB4", "InceptionResNetV2", "EfficientNetB5", "ConvNeXtBase", "EfficientNetB6"),
    *("EfficientNetV2M", "ConvNeXtLarge", "EfficientNetB7", "NASNetLarge", "EfficientNetV2L"),
    "ConvNeXtXLarge",
)
"""Roughly from fast to slow."""

NETWORKS = ("U-Net", "1-D ResNet", "tiny ViT", "two-headed detector")
"""Those of networks.py."""
NAMES = (*ARCHITECTURES, *NETWORKS)

SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
SIDE, CLASSES, IMAGES = 32, 10, 16
LARGEST_DIFFERENCE = 1e-4

INTEGER_KERNELS = {
    *("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul"),
    *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
}
"""What ONNX Runtime calls a convolution or matrix product that it computes in integers."""


def build(name: str) -> Any:
    """The untrained network, and samples that it takes: pixels uint8, or a signal float32."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    if name in NETWORKS:
        from networks import NETWORKS as MADE  # with Keras, which the parent does not import

        model = MADE[name]()
        shape = (IMAGES, *model.input_shape[1:])
        random = np.random.default_rng(0)
        if len(shape) == 4:
            return model, random.integers(0, 256, shape, dtype=np.uint8)
        return model, random.normal(size=shape).astype(np.float32)
    side = SMALLEST.get(name, SIDE)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(side, side, 3), classes=CLASSES, classifier_activation=None
    )
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, side, side, 3), dtype=np.uint8)
    return model, images


def signature_of(model: Any, samples: Any) -> Any:
    """What the model takes and gives; pixels are divided by 255 where it does not do so itself."""
    import keras

    from stages.artifacts.signature import LAYOUTS, Head, Signature
    from stages.keras_graph.outputs import names_of

    prepares = (keras.layers.Rescaling, keras.layers.Normalization)
    is_raw = samples.dtype == "float32" or any(isinstance(x, prepares) for x in model.layers)
    return Signature(
        samples.shape[1:],
        tuple("0123456789"),
        1.0 if is_raw else 1 / 255,
        0.0,
        layout=LAYOUTS[samples.ndim - 1],
        data_dtype=samples.dtype.name,
        heads=tuple(
            Head(name, "raw", "values", (), output.shape[1:])
            for name, output in zip(names_of(model), model.outputs, strict=True)
        )
        if len(model.outputs) > 1
        else (),
    )


def relative(expected: Any, got: Any) -> float:
    """The largest difference of an output, as a share of its largest value."""
    from stages.numerics import fields
    from stages.numerics.parity import compare

    pairs = zip(fields.parts(expected), fields.parts(got), strict=True)
    return max(compare(*pair, 1.0).max_relative_difference or 0.0 for pair in pairs)


def randomize(model: Any, images: Any) -> None:
    """Random scales, offsets and biases; batch statistics that fit, give or take a little.

    The offsets of batch normalisation are positive on average, as if every layer's units were
    awake more than half of the time. Around zero, deep untrained networks are chaotic: moving
    every pixel by one rounding of float32 moves EfficientNetV2S by 0.6 of its largest output.
    """
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if variable.name == "gamma" or "layer_scale" in variable.path:
            scale = 0.2 if "layer_scale" in variable.path else 1.0
            variable.assign(scale * rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name == "beta":
            variable.assign(rng.normal(0.5, 0.2, variable.shape))
        elif variable.name == "bias":
            variable.assign(rng.normal(0.0, 0.1, variable.shape))
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm in norms:
        norm.momentum = 0.99
        spread = np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        norm.moving_mean.assign_add(0.1 * spread * rng.normal(size=spread.shape))
        norm.moving_variance.assign(norm.moving_variance * rng.uniform(0.8, 1.25, spread.shape))


def examine(name: str, found: dict[str, Any], folder: Path) -> None:
    """Fill `found` step by step, so that what was reached is known when a step fails."""
    import numpy as np
    import onnx

    from stages.conversion.onnx.float16 import to_float16
    from stages.conversion.onnx.targets import float_graph
    from stages.engines import onnxruntime
    from stages.keras_graph.fold import fold
    from stages.training import evaluate

    model, pixels = build(name)
    signature = signature_of(model, pixels)
    images = signature.preprocess(pixels)
    randomize(model, images)
    found["parameters"] = int(model.count_params())
    logits = evaluate.logits(model, images, signature)
    moved = evaluate.logits(model, np.nextafter(images, np.float32(np.inf)), signature)
    found["rounding_noise"] = relative(logits, moved)
    found["prune_difference"] = prune_difference(model, images)
    folded = fold(model)
    del model  # as large as all that follows
    graph = float_graph(folded, signature)
    onnx.save(graph, folder / "model.fp32.onnx")
    found["nodes"] = len(graph.graph.node)
    found["shape_nodes"] = shape_nodes(graph)
    with onnxruntime.Runner(folder / "model.fp32.onnx", signature) as engine:
        found["difference"] = relative(logits, engine.infer(images))
    onnx.save(to_float16(graph), folder / "model.fp16.onnx")
    del graph
    found["rtx_fp16"], _ = build_rtx(folder / "model.fp16.onnx", signature)
    quantize(folded, images, signature, folder, found)


def quantize(folded: Any, images: Any, signature: Any, folder: Path, found: dict[str, Any]) -> None:
    """Calibrate on `images`, and give both Q/DQ graphs to their engines."""
    import keras
    import numpy as np
    import onnx

    from stages.artifacts.ranges import covering
    from stages.conversion.onnx.float16 import to_float16
    from stages.conversion.onnx.targets import int8_graph
    from stages.engines import onnxruntime
    from stages.engines.base import BuildRequest
    from stages.keras_graph.placement import points
    from stages.numerics import fields

    placed = points(folded, signature)
    tensors = [point.tensor for point in placed.values()]
    seen = keras.tree.flatten(keras.Model(folded.inputs[0], tensors)(images, training=False))
    ranges = {name: covering(np.asarray(values)) for name, values in zip(placed, seen, strict=True)}
    source, optimised = folder / "model.int8.cpu.onnx", folder / "optimised.onnx"
    onnx.save(int8_graph(folded, placed, ranges, signature, "cpu"), source)
    onnxruntime.build(source, optimised, BuildRequest(signature, "int8"))
    found["kernels"] = sum(
        node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
        for node in onnx.load(source).graph.node
    )
    found["int8_kernels"] = sum(
        node.op_type in INTEGER_KERNELS for node in onnx.load(optimised).graph.node
    )
    with onnxruntime.Runner(optimised, signature) as engine:
        outputs = fields.parts(engine.infer(images))
        found["ort_int8"] = all(bool(np.isfinite(each).all()) for each in outputs)
    graph = to_float16(int8_graph(folded, placed, ranges, signature, "tensorrt"))
    onnx.save(graph, folder / "model.int8.tensorrt.onnx")
    del graph
    found["rtx_int8"], layers = build_rtx(folder / "model.int8.tensorrt.onnx", signature)
    found["rtx_int8_kernels"] = layers


def shape_nodes(graph: Any) -> int:
    """Nodes that only compute shapes, or do nothing."""
    leftover = ("Shape", "Gather", "Slice", "Identity", "Cast")
    return sum(node.op_type in leftover for node in graph.graph.node)


def build_rtx(source: Path, signature: Any) -> tuple[bool, int]:
    """True if TensorRT-RTX builds `source`, and how many of its layers have an INT8 kernel.

    Raises EngineError if it does not.
    """
    from stages.engines.base import BuildRequest
    from stages.engines.tensorrt import rtx

    account = rtx.build(source, source.with_suffix(".rtx"), BuildRequest(signature, "int8"))
    asked = [layer for layer in account.layers if layer.requested]
    return True, sum(layer.executed == "int8" for layer in asked)


def prune_difference(model: Any, images: Any) -> float | None:
    """The exactness check of benchmarks/prune_exactness.py, if that is there."""
    try:
        from prune_exactness import relative_difference
    except ImportError:
        return None
    return float(relative_difference(model, images))


def child(name: str) -> None:
    """Examine one architecture in this process, and print what was found as a JSON line."""
    from stages.errors import UserError

    found: dict[str, Any] = {"architecture": name, "reason": None}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            examine(name, found, Path(folder))
        except UserError as error:
            found["reason"] = f"{type(error).__name__}: {error.message}"[:300]
        except Exception as error:
            found["reason"] = f"not a UserError: {type(error).__name__}: {error}"[:300]
    found["seconds"] = round(time.monotonic() - start, 1)
    print(json.dumps(found))


def run(name: str, limit: float) -> dict[str, Any]:
    """Examine one architecture in a child process, for at most `limit` seconds."""
    command = [sys.executable, __file__, "--child", name]
    start = time.monotonic()
    # Its temporary files are gone even where it is killed, for the memory it takes say.
    folder = tempfile.TemporaryDirectory()
    variables = {**environment(), "TMPDIR": folder.name}
    try:
        with folder:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=limit, check=False, env=variables
            )
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        reason = f"stopped after {limit:.0f} s"
    except (IndexError, ValueError):
        reason = f"the process ended with {done.returncode}: {done.stderr[-200:]}"
    seconds = round(time.monotonic() - start, 1)
    return {"architecture": name, "reason": reason, "seconds": seconds}


def environment() -> dict[str, str]:
    """This process's environment, with the project importable, TensorFlow quiet, and the memory of
    models that are gone given back: its own allocator keeps it."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    settings = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}
    return {**os.environ, "PYTHONPATH": path, **settings}


def passes(found: dict[str, Any]) -> bool:
    """Converts exactly, quantizes, and both engines take the result."""
    reached = found.get("rtx_fp16") and found.get("rtx_int8") and found.get("ort_int8")
    return bool(reached) and found["difference"] < LARGEST_DIFFERENCE


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "architecture": lambda row: row["architecture"],
    "parameters": lambda row: f"{row['parameters'] / 1e6:.1f} M" if "parameters" in row else "",
    "float32 difference": lambda row: f"{row['difference']:.0e}" if "difference" in row else "",
    "Keras itself": lambda row: f"{row['rounding_noise']:.0e}" if "rounding_noise" in row else "",
    "nodes": lambda row: str(row.get("nodes", "")),
    "INT8 kernels in ORT": lambda row: (
        f"{row['int8_kernels']} of {row['kernels']}" if "int8_kernels" in row else ""
    ),
    "half of the channels removed": lambda row: (
        f"{row['prune_difference']:.0e}" if row.get("prune_difference") is not None else ""
    ),
    "RTX FP16": lambda row: "yes" if row.get("rtx_fp16") else "",
    "INT8 kernels in RTX": lambda row: (
        f"{row['rtx_int8_kernels']} of {row['kernels']}" if row.get("rtx_int8") else ""
    ),
    "s": lambda row: f"{row['seconds']:.0f}",
    "result": lambda row: "passes" if passes(row) else row["reason"] or "differs",
}


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown, and how many passed."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for row in rows:
        lines.append("| " + " | ".join(cell(row) for cell in COLUMNS.values()) + " |")
    passed = sum(map(passes, rows))
    return "\n".join([*lines, "", f"{passed} of {len(rows)} pass."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("coverage.jsonl"))
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds per architecture")
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child)
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    known = {row["architecture"]: row for row in map(json.loads, lines)}
    for name in [name for name in options.only if name not in known]:
        known[name] = run(name, options.limit)
        print(json.dumps(known[name]), file=sys.stderr, flush=True)
        with options.results.open("a") as file:
            file.write(json.dumps(known[name]) + "\n")
    print(table([known[name] for name in NAMES if name in known]))


if __name__ == "__main__":
    main()
