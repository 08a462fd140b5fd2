"""Stage `quantize`: a float model in, a model on the INT8 grid and its activation ranges out.

Batch normalisation is folded, ranges are calibrated on images that were never trained on,
and a short quantization-aware fine-tune adapts weights and ranges. The artifact is an
ordinary Keras model plus `ranges.json`: the placement of the ranges is derived from the
graph again where it is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from stages import datasets, evaluate, keras_files, progress, ranges
from stages.datasets import DataSet
from stages.fit import Teacher, fit, reset
from stages.keras_graph.cost import kernel_of, multiply_adds
from stages.keras_graph.fake_quant import layer_name, simulate
from stages.keras_graph.fold import fold, output_axis
from stages.keras_graph.placement import Point, inputs_of_weighted, points
from stages.keras_graph.walk import calls
from stages.numerics import calibration, qparams
from stages.ranges import Range
from stages.settings import Quantize, QuantizeStage
from stages.signature import Signature

Batches = list[NDArray[np.float32]]


def run(settings: QuantizeStage, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Quantize, and write `model.keras`, `ranges.json` and `signature.json` into `out`.

    Of the calibrated and the fine-tuned model the one that is better on the validation
    split is kept. Returns the measurements of the simulated INT8 model on the test split.
    """
    reset(settings.quantize.seed)
    dataset = datasets.load(settings.data)
    signature = Signature.read(inputs["prune"])
    source = keras_files.load(inputs["prune"] / "model.keras")
    model = fold(source)
    placed = points(model, signature)
    found = calibrate(model, placed, calibration_batches(dataset, signature), settings.quantize)
    simulated = simulate(model, placed, found)
    details = fine_tune(simulated, source, dataset, signature, settings)
    found = {name: learned(simulated, name) for name in found}
    snap_biases(model, placed, found)
    keras_files.save(model, out / "model.keras")
    ranges.write(found, out)
    signature.write(out)
    final = simulate(model, placed, found)
    measured = evaluate.measure(final, dataset.test, signature, precision="fake_int8")
    size = {"parameters": int(model.count_params()), "multiply_adds": multiply_adds(model)}
    measured["model"] |= size
    details["calibration"] = describe(dataset, settings.quantize, found)
    return {**measured, "details": details}


def calibration_batches(dataset: DataSet, signature: Signature, size: int = 64) -> Batches:
    """The calibration split as model input, in batches: float32 (<= size, H, W, C)."""
    images = signature.preprocess(dataset.calibration.images)
    return [images[start : start + size] for start in range(0, len(images), size)]


def calibrate(
    model: keras.Model, placed: Mapping[str, Point], batches: Batches, settings: Quantize
) -> dict[str, Range]:
    """Ranges of all points, from the activations of the float model on `batches`.

    Two passes: the first finds the largest magnitudes, the second counts magnitudes in
    histograms up to them.
    """
    tensors = keras.Model(model.inputs[0], [point.tensor for point in placed.values()])

    def observe(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return [values.numpy() for values in keras.tree.flatten(tensors(batch, training=False))]

    largest = np.zeros(len(placed))
    for batch in batches:
        largest = np.maximum(largest, [np.abs(values).max() for values in observe(batch)])
    histograms = [calibration.empty(float(amax)) for amax in largest]
    for batch in batches:
        histograms = [h.add(v) for h, v in zip(histograms, observe(batch), strict=True)]
    percentile = settings.percentile if settings.calibration == "percentile" else 100.0
    return {
        name: _range(point, histogram, percentile)
        for (name, point), histogram in zip(placed.items(), histograms, strict=True)
    }


def _range(point: Point, histogram: calibration.Histogram, percentile: float) -> Range:
    amax = calibration.percentile_amax(histogram, percentile)
    return Range(amax, point.signed, calibration.saturated_share(histogram, amax))


def fine_tune(
    simulated: keras.Model,
    source: keras.Model,
    dataset: DataSet,
    signature: Signature,
    settings: QuantizeStage,
) -> dict[str, Any]:
    """Train the simulated model in place, also on the answers of the float model `source`.

    Goes back to the calibrated model if that was better on the validation images.
    """
    before = simulated.get_weights()
    calibrated = evaluate.accuracy(simulated, dataset.validation, signature)["top1"]
    progress.report(f"calibrated: validation accuracy {calibrated:.2%}")
    fit(
        simulated,
        dataset,
        signature,
        settings.quantize,
        label="quantize",
        shift_pixels=settings.data.shift_pixels,
        teacher=Teacher(source, settings.quantize.distillation),
    )
    trained = evaluate.accuracy(simulated, dataset.validation, signature)["top1"]
    kept = "trained" if settings.quantize.epochs and trained >= calibrated else "calibrated"
    if kept == "calibrated":
        simulated.set_weights(before)
    return {
        "kept": kept,
        "calibrated_validation_top1": calibrated,
        "trained_validation_top1": trained if settings.quantize.epochs else None,
    }


def learned(simulated: keras.Model, point: str) -> Range:
    """The range of `point` in the simulated model."""
    found: Range = simulated.get_layer(layer_name(point)).learned()
    return found


def snap_biases(
    model: keras.Model, placed: Mapping[str, Point], found: Mapping[str, Range]
) -> None:
    """Move the biases of the folded `model`, in place, to the steps that integer engines have."""
    quantized_inputs = inputs_of_weighted(model, placed)
    for call in calls(model):
        point = quantized_inputs.get(id(call.outputs[0]))
        if point is not None:
            layer = call.operation
            kernel_scales = qparams.kernel_scales(kernel_of(layer).numpy(), output_axis(layer))
            step = kernel_scales * found[point.name].scale("cpu")
            layer.bias.assign(qparams.snap(layer.bias.numpy(), step))


def describe(dataset: DataSet, settings: Quantize, found: Mapping[str, Range]) -> dict[str, Any]:
    """Where the ranges come from: the method, the images and what they left outside."""
    return {
        "method": settings.calibration,
        "samples": len(dataset.calibration.labels),
        "images_sha256": hashlib.sha256(dataset.calibration.images.tobytes()).hexdigest(),
        "ranges": {name: vars(spec) for name, spec in found.items()},
    }
