"""Stage `convert`: Keras models in, a graph for every kind of engine out, compared with Keras.

baseline.fp32.onnx          the trained model before pruning, to compare the engines with
model.fp32.onnx             the pruned float model
model.fp16.onnx             the same in float16, float32 input and output
model.bf16.onnx             the same in bfloat16, if asked for
model.int8.tensorrt.onnx    and the other quantized graphs: see conversion/onnx/targets.py
model.int8.tflite           full INT8 from the same ranges
model.fp32.tflite           the pruned float model for LiteRT
model.*.pairs.tflite        the same in another form, where keras_graph/paired_columns.py applies
samples.npz                 test images, labels and Keras' logits, to check engines with, and
                            validation images with their labels, to choose an engine by
test_images.npy, test_labels.npy
                            test images for machines without the data set: datasets/carried.py
left_out.json   graphs that a converter cannot write, and why: artifacts/left_out.py
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from numpy.typing import NDArray

from stages import progress
from stages.artifacts import left_out, ranges
from stages.artifacts.ranges import Range
from stages.artifacts.signature import DataType, Signature, rows
from stages.conversion.explained import explained_difference
from stages.conversion.layer_parity import compare_layers
from stages.conversion.litert import write_float, write_int8
from stages.conversion.onnx import overflow
from stages.conversion.onnx.bfloat16 import in_float32
from stages.conversion.onnx.float16 import to_bfloat16
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.conversion.onnx.targets import float_graph, int8_graph
from stages.conversion.traces import traces
from stages.datasets import carried
from stages.datasets.base import Split
from stages.datasets.loading import load_dataset
from stages.datasets.several import wanted_by
from stages.engines import litert
from stages.engines.base import Logits
from stages.engines.onnxruntime import Runner, interpret
from stages.engines.registry import Target
from stages.errors import ConversionError, SettingsError
from stages.keras_graph.cost import moved_activations, multiply_adds
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.garbage import free_copies
from stages.keras_graph.placement import Point, points
from stages.measurement import clock, parity
from stages.measurement.accuracy import accuracy, batch_of
from stages.measurement.accuracy import logits as engine_logits
from stages.models import files, own_source
from stages.numerics import latency
from stages.results.base import LatencyRow, ModelFacts, Quality
from stages.results.conversion import ConvertDetails, ConvertResult, FloatLayer, ParityCheck
from stages.settings import Convert, ConvertStage
from stages.training import evaluate

Pixels = NDArray[Any]

BATCH = 256
LAYER_PARITY_IMAGES, LAYER_PARITY_PIXELS = range(4, 17), 2**16
"""Fewest and most images to compare layer by layer, and in between how many pixels: one of 224x224
already has every kernel compute millions of values."""
OUTPUT_BYTES = 128 << 20
"""Outputs in samples.npz of one model: of 64 masks of 256x256 pixels and 8 classes."""
VALIDATION_SAMPLES, VALIDATION_BYTES = 2048, 64 << 20
BASELINE, FLOAT_GRAPH = "baseline.fp32.onnx", "model.fp32.onnx"
FP16_GRAPH, BF16_GRAPH, CPU_GRAPH, TENSORRT_GRAPH = (
    "model.fp16.onnx",
    "model.bf16.onnx",
    "model.int8.cpu.onnx",
    "model.int8.tensorrt.onnx",
)
FLOAT_TFLITE = "model.fp32.tflite"
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
Wide = dict[str, tuple[FloatLayer, ...]]
"""By float16 graph, the layers that float16 cannot hold, if any."""


def run(settings: ConvertStage, inputs: Mapping[str, Path], out: Path) -> ConvertResult:
    """Write all graphs, `samples.npz` and `signature.json` into `out`.

    Raises ConversionError if a graph is invalid, or if a float32 graph differs from Keras by
    more than `convert.max_relative_difference`, SettingsError for a `convert.input` that the data
    are not. Accuracy and latency of the result are those of
    the INT8 CPU graph in ONNX Runtime.
    """
    options = settings.convert
    own_source.make_known(settings.model)
    signature = Signature.read(inputs["quantize"])
    signature = signature.fed_as(input_type(signature, options))
    signature = dataclasses.replace(signature, batch_size=options.batch_size)
    signature = signature.with_trained_thresholds(Signature.read(inputs["train"]))
    signature.write(out)
    data = load_dataset(settings.data, *wanted_by(signature))
    test = data.test
    samples = test.sample(min(options.parity_samples, most_samples(signature)))
    images = samples.images[:]
    calibration = data.calibration.images[:]
    logits, checks, wide = convert_float(inputs, images, calibration, signature, options, out)
    folded = files.load(inputs["quantize"] / "model.keras")
    placed = points(folded, signature)
    found = ranges.read(inputs["quantize"], placed)
    # Points without a range were left in float by quantize; they must stay so in every graph.
    placed = {name: placed[name] for name in found}
    network = (folded, placed, found)
    graphs = INT8_GRAPHS | (FP8_GRAPHS if "fp8" in options.extra_precisions else {})
    simulations = {parity.fake_quantized(target): target for target in graphs.values()}
    wide |= convert_quantized(*network, graphs, calibration, signature, options, out)
    missing = left_out.read(out)
    normal = signature.preprocess(images)
    logits |= {
        name: evaluate.logits(simulate(*network, target), normal, signature)
        for name, target in simulations.items()
    }
    few = samples.sampled(signature.batch_size or layer_parity_images(signature))
    fed = signature.preprocess(images[few])
    differences = {
        name: explained_difference(*network, target, fed, logits[name][few])
        for name, target in simulations.items()
    }
    checks += compare_quantized(graphs, logits, differences, samples, signature, out)
    arrays: dict[str, Any] = {"images": images, "labels": samples.labels, **logits}
    arrays |= {parity.explained(name): each for name, each in differences.items()}
    arrays |= unseen(data.validation)
    np.savez(out / "samples.npz", **arrays)
    taken_along = carried.write(test, options.carried_images, out)
    accuracy, row = measure(CPU_GRAPH, test, signature, out)
    progress.report("layer by layer")
    layers = tuple(
        compare_layers(name, *network, trace, images[few], signature)
        for name, trace in traces(out, graphs, found, signature, signature.feed(images[few]))
    )
    return ConvertResult(
        model=ModelFacts(
            file=CPU_GRAPH,
            parameters=int(folded.count_params()),
            multiply_adds=multiply_adds(folded),
        ),
        accuracy=accuracy,
        latency=(row,),
        details=ConvertDetails(
            parity_checks=tuple(checks),
            first_mismatch=parity.first_mismatch(checks, layers),
            float32_layers=wide,
            output=None if signature.heads else signature.output,
            outputs={each.name: each.output for each in signature.heads},
            carried=taken_along,
            moved_activations=moved_activations(folded),
            layer_parity=layers,
            left_out=missing,
        ),
    )


def input_type(signature: Signature, settings: Convert) -> DataType:
    """What engines are fed with where the data are pixels, if any are. Raises SettingsError for
    pixels where no data are that."""
    if settings.input == "uint8" and not signature.has_pixels:
        raise SettingsError(
            "convert.input is 'uint8', but the data are float32, no pixels",
            "leave it out, or: --set convert.input=float32",
        )
    return "uint8" if signature.has_pixels and settings.input != "float32" else "float32"


def most_samples(signature: Signature) -> int:
    """How many images the samples may have, of whose outputs there are as many as simulations."""
    one = sum(4 * math.prod(each.shape_of_output) for each in signature.each)
    return max(LAYER_PARITY_IMAGES[-1], OUTPUT_BYTES // max(one, 1))


def layer_parity_images(signature: Signature) -> int:
    """How many images to compare layer by layer."""
    places = sum(math.prod(own.input_shape[:-1]) for own in signature.each_input)
    wanted = LAYER_PARITY_PIXELS // places
    return min(max(wanted, LAYER_PARITY_IMAGES[0]), LAYER_PARITY_IMAGES[-1])


def unseen(validation: Split) -> dict[str, NDArray[Any]]:
    """Validation images and labels, as many as fit: the test images must not choose an engine."""
    one = math.prod(validation.images.shape[1:]) * validation.images.dtype.itemsize
    room = max(1, VALIDATION_BYTES // one)
    few = validation.sample(min(room, VALIDATION_SAMPLES))
    return {"validation_images": few.images[:], "validation_labels": few.labels}


def convert_float(
    inputs: Mapping[str, Path],
    images: Pixels,
    calibration: Pixels,
    signature: Signature,
    settings: Convert,
    out: Path,
) -> tuple[dict[str, Logits], list[ParityCheck], Wide]:
    """Write the float graphs and compare each with its Keras model on `images`.

    Returns the pruned model's logits by name, the checks, and what float16 cannot hold. Raises
    ConversionError where float32 differs by more than the settings allow.
    """
    limit = settings.max_relative_difference
    *_, baseline = write_float32(inputs["train"], images, signature, settings, out / BASELINE)
    folded, graph, logits, check = write_float32(
        inputs["prune"], images, signature, settings, out / FLOAT_GRAPH
    )
    checks = [baseline, check]
    progress.report(FP16_GRAPH)
    wide = write_float16(graph, calibration, signature, out / FP16_GRAPH)
    got = interpret(out / FP16_GRAPH, signature, images)
    checks.append(parity.check_float(FP16_GRAPH, logits, got, signature, parity.FLOAT16_RELATIVE))
    if "bf16" in settings.extra_precisions:
        progress.report(BF16_GRAPH)
        half = prepend_preprocessing(to_bfloat16(graph), signature)
        onnx.save(half, out / BF16_GRAPH)
        # ONNX Runtime has no bfloat16 convolution for CPUs.
        got = interpret(in_float32(half).SerializeToString(), signature, images)
        checks.append(
            parity.check_float(BF16_GRAPH, logits, got, signature, parity.BFLOAT16_RELATIVE)
        )
        del half
    del graph  # as large as the model
    progress.report(FLOAT_TFLITE)
    with left_out.alone(out, FLOAT_TFLITE):
        for form in write_float(out / FLOAT_TFLITE, folded, signature):
            got = run_tflite(form, signature, images)
            checks.append(check_float32(form.name, logits, got, signature, limit))
    return {parity.KERAS_FLOAT: logits}, checks, wide


def write_float32(
    source: Path, images: Pixels, signature: Signature, settings: Convert, file: Path
) -> tuple[keras.Model, onnx.ModelProto, Logits, ParityCheck]:
    """Write the model in the folder `source` as a float32 graph.

    Returns it folded, the graph before pixels, Keras' logits of `images`, and how far those of the
    file are from them.
    """
    progress.report(file.name)
    model = files.load(source / "model.keras")
    logits = evaluate.logits(model, signature.preprocess(images), signature)
    folded = fold(model)
    del model
    free_copies(folded.count_params())
    graph = float_graph(folded, signature, settings.opset)
    onnx.save(prepend_preprocessing(graph, signature), file)
    got = interpret(file, signature, images)
    limit = settings.max_relative_difference
    check = check_float32(file.name, logits, got, signature, limit)
    return folded, graph, logits, check


def write_float16(
    graph: onnx.ModelProto, calibration: Pixels, signature: Signature, file: Path
) -> Wide:
    """Write the float32 `graph` in float16; returns the layers that cannot be, and stay float32."""
    half, layers = overflow.to_safe_float16(graph, calibration, signature)
    # float16 first, then the pixels: normalised in float16 they would be off by a
    # quantization step (decision 11).
    onnx.save(prepend_preprocessing(half, signature), file)
    return {file.name: layers} if layers else {}


def check_float32(
    name: str, expected: Logits, got: Logits, signature: Signature, limit: float
) -> ParityCheck:
    """A float32 graph against Keras. Raises ConversionError where it differs by more."""
    found = parity.check_float(name, expected, got, signature, limit)
    if not found.passed:
        output = f" in {found.output!r}" if found.output else ""
        raise ConversionError(
            f"{name} differs from Keras{output} by {found.max_relative_difference:.1e} "
            f"of the largest output, allowed is {limit:.1e}",
            "report the model's layers as a bug, or raise convert.max_relative_difference",
        )
    return found


def run_tflite(file: Path, signature: Signature, images: Pixels) -> Logits:
    """Logits of a `.tflite` for raw images."""
    with litert.Runner(file, signature) as engine:
        return engine_logits(engine, images, BATCH)


def convert_quantized(
    folded: keras.Model,
    placed: Mapping[str, Point],
    found: Mapping[str, Range],
    graphs: Mapping[str, Target],
    calibration: Pixels,
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
                    write_int8(out / file, folded, placed, found, signature)
            continue
        progress.report(f"quantized for {target}")
        graph = int8_graph(folded, placed, found, signature, target, settings.opset)
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
        for form in (out / file, litert.paired_form(out / file)):
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


def measure(file: str, test: Split, signature: Signature, out: Path) -> tuple[Quality, LatencyRow]:
    """Accuracy of the graph `file` in ONNX Runtime on `test`, and its latency at batch 1."""
    batch = batch_of(test.images, signature, 1)
    with Runner(out / file, signature) as engine:
        found = accuracy(engine, test.images, test.labels, BATCH)
        taken = clock.measure(
            {file: lambda: engine.infer(batch)}, evaluate.WARMUP_SECONDS, evaluate.SECONDS
        )
    row = latency.row(
        taken[file], batch_size=rows(batch), runtime="onnxruntime", precision="int8", threads=1
    )
    return found, row
