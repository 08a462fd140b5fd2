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
                            validation images with their labels, to choose an engine by:
                            measurement/samples.py
test_images.npy, test_labels.npy
                            test images for machines without the data set: datasets/carried.py
left_out.json   graphs that a converter cannot write, and why: artifacts/left_out.py
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from numpy.typing import NDArray

from stages import progress
from stages.artifacts import left_out
from stages.artifacts.signature import DataType, Signature, rows
from stages.conversion.explained import explained_difference
from stages.conversion.litert import run_tflite, write_float
from stages.conversion.onnx.bfloat16 import in_float32
from stages.conversion.onnx.float16 import to_bfloat16
from stages.conversion.onnx.overflow import Wide, write_float16
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.conversion.onnx.targets import float_graph
from stages.conversion.quantized import (
    CPU_GRAPH,
    FP8_GRAPHS,
    INT8_GRAPHS,
    Quantized,
    compare_inside,
    compare_quantized,
    convert_quantized,
)
from stages.datasets import carried
from stages.datasets.base import Split
from stages.datasets.loading import load_dataset
from stages.datasets.several import wanted_by
from stages.engines.base import Logits
from stages.engines.onnxruntime import Runner, interpret
from stages.engines.registry import Target
from stages.errors import ConversionError, SettingsError
from stages.keras_graph.cost import moved_activations, multiply_adds
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.garbage import free_copies
from stages.measurement import clock, parity
from stages.measurement.accuracy import accuracy, batch_of
from stages.measurement.samples import layer_parity_images, most_samples, write_samples
from stages.models import files, own_source
from stages.numerics import latency
from stages.results.base import LatencyRow, ModelFacts, Quality
from stages.results.conversion import ConvertDetails, ConvertResult, ParityCheck
from stages.settings import Convert, ConvertStage
from stages.training import evaluate

Pixels = NDArray[Any]

BATCH = 256
BASELINE, FLOAT_GRAPH = "baseline.fp32.onnx", "model.fp32.onnx"
FP16_GRAPH, BF16_GRAPH = "model.fp16.onnx", "model.bf16.onnx"
FLOAT_TFLITE = "model.fp32.tflite"


def run(settings: ConvertStage, inputs: Mapping[str, Path], out: Path) -> ConvertResult:
    """Write all graphs, `samples.npz` and `signature.json` into `out`.

    Raises ConversionError if a graph is invalid, or if a float32 graph differs from Keras by
    more than `convert.max_relative_difference`, SettingsError for a `convert.input` that the data
    are not. Accuracy and latency of the result are those of the INT8 CPU graph in ONNX Runtime.
    """
    options = settings.convert
    own_source.make_known(settings.model)
    signature = signature_of_graphs(inputs, options)
    signature.write(out)
    data = load_dataset(settings.data, *wanted_by(signature))
    samples = data.test.sample(min(options.parity_samples, most_samples(signature)))
    images, calibration = samples.images[:], data.calibration.images[:]
    logits, checks, wide = convert_float(inputs, images, calibration, signature, options, out)
    network = Quantized.read(inputs["quantize"], signature)
    graphs = INT8_GRAPHS | (FP8_GRAPHS if "fp8" in options.extra_precisions else {})
    wide |= convert_quantized(network, graphs, calibration, signature, options, out)
    few = samples.sampled(signature.batch_size or layer_parity_images(signature))
    rounded, differences = simulate_targets(network, graphs.values(), images, few, signature)
    logits |= rounded
    checks += compare_quantized(graphs, logits, differences, samples, signature, out)
    write_samples(samples, data.validation, logits, differences, out)
    taken_along = carried.write(data.test, options.carried_images, out)
    accuracy, row = measure(CPU_GRAPH, data.test, signature, out)
    layers = compare_inside(network, graphs, images[few], signature, out)
    return ConvertResult(
        model=ModelFacts(
            file=CPU_GRAPH,
            parameters=int(network.model.count_params()),
            multiply_adds=multiply_adds(network.model),
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
            moved_activations=moved_activations(network.model),
            layer_parity=layers,
            left_out=left_out.read(out),
        ),
    )


def signature_of_graphs(inputs: Mapping[str, Path], settings: Convert) -> Signature:
    """What the graphs take and return: as `quantize` has it, fed as the settings say, and with the
    thresholds of the trained model as well. Raises SettingsError as `input_type` does.
    """
    signature = Signature.read(inputs["quantize"])
    signature = signature.fed_as(input_type(signature, settings))
    signature = dataclasses.replace(signature, batch_size=settings.batch_size)
    return signature.with_trained_thresholds(Signature.read(inputs["train"]))


def input_type(signature: Signature, settings: Convert) -> DataType:
    """What engines are fed with where the data are pixels, if any are. Raises SettingsError for
    pixels where no data are that."""
    if settings.input == "uint8" and not signature.has_pixels:
        raise SettingsError(
            "convert.input is 'uint8', but the data are float32, no pixels",
            "leave it out, or: --set convert.input=float32",
        )
    return "uint8" if signature.has_pixels and settings.input != "float32" else "float32"


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


def simulate_targets(
    network: Quantized,
    targets: Iterable[Target],
    images: Pixels,
    few: NDArray[np.int64],
    signature: Signature,
) -> tuple[dict[str, Logits], dict[str, NDArray[Any]]]:
    """Keras' logits of `images` with the rounding of each target, and by how much rounding explains
    that an engine differs from those of the images at `few`; both by the name of the simulation.
    """
    simulations = {parity.fake_quantized(target): target for target in targets}
    normal = signature.preprocess(images)
    logits = {
        name: evaluate.logits(simulate(*network, target), normal, signature)
        for name, target in simulations.items()
    }
    fed = signature.preprocess(images[few])
    differences = {
        name: explained_difference(*network, target, fed, logits[name][few])
        for name, target in simulations.items()
    }
    return logits, differences


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
