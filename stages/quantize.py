"""Stage `quantize`: a float model in, a model on the INT8 grid and its activation ranges out.

Batch normalisation is folded, ranges are calibrated on images that were never trained on,
and a short quantization-aware fine-tune adapts weights and ranges. If that costs more
accuracy than allowed, some layers stay in float. The artifact is an ordinary Keras model plus
`ranges.json`: where the ranges belong is derived from the graph again where it is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from stages import datasets, progress
from stages.artifacts import ranges
from stages.artifacts.signature import Signature
from stages.datasets import DataSet
from stages.keras_graph.cost import kernel_of, multiply_adds
from stages.keras_graph.fake_quant import layer_name, simulate
from stages.keras_graph.fold import fold, output_axis
from stages.keras_graph.placement import Point, inputs_of_weighted, points, tied
from stages.keras_graph.walk import calls
from stages.keras_graph.zeros import hold
from stages.models import files
from stages.numerics import qparams
from stages.numerics.calibration import Histogram, saturated_share
from stages.quantization import fallback
from stages.quantization.calibrate import METHODS, Ranges, find_ranges, observe, tie
from stages.settings import QuantizeStage
from stages.training import evaluate
from stages.training.fit import Teacher, fit, prepare

CALIBRATION_BATCH = 64
CHECKPOINT = "training.npz"


def run(
    settings: QuantizeStage,
    inputs: Mapping[str, Path],
    out: Path,
    resume: Path | None = None,
    logs: Path | None = None,
) -> dict[str, Any]:
    """Quantize, and write `model.keras`, `ranges.json` and `signature.json` into `out`.

    Every epoch of the fine-tune is kept in the folder `resume`, where one is given, and its
    learning curves are written to `logs`. Returns the measurements of the simulated INT8 model on
    the test split. Raises ModelError if nothing can be quantized, and GateFailed if INT8 misses
    `quantize.max_accuracy_drop` even with half of the layers in float.
    """
    prepare(settings.quantize)
    dataset = datasets.load(settings.data)
    signature = Signature.read(inputs["prune"])
    source = files.load(inputs["prune"] / "model.keras")
    checkpoint = None if resume is None else resume / CHECKPOINT
    piece = Workpiece(source, dataset, signature, settings, checkpoint, logs)
    details = {"calibration": piece.calibrate(), **piece.fine_tune(), **piece.fall_back()}
    details["saturation"] = piece.count_saturation()
    snap_biases(piece.model, piece.quantized(), piece.found)
    files.save(piece.model, out / "model.keras")
    ranges.write({name: piece.found.get(name) for name in piece.points}, out)
    signature.write(out)
    measured = evaluate.measure(piece.simulated(), dataset.test, signature, precision="fake_int8")
    size = {"parameters": piece.model.count_params(), "multiply_adds": multiply_adds(piece.model)}
    measured["model"] |= size
    details["ranges"] = {name: vars(spec) for name, spec in piece.found.items()}
    measured["details"] |= details
    return measured


@dataclass
class Workpiece:
    """The folded model with its ranges, as calibration, fine-tune and fallback leave them."""

    source: keras.Model
    dataset: DataSet
    signature: Signature
    settings: QuantizeStage
    checkpoint: Path | None
    logs: Path | None

    def __post_init__(self) -> None:
        knobs = self.settings.quantize
        self.model = fold(self.source)
        self.points = points(self.model, self.signature)
        self.in_float = fallback.named_points(self.model, self.points, knobs.keep_float)
        self.found: Ranges = {}

    def quantized(self, in_float: frozenset[str] = frozenset()) -> dict[str, Point]:
        """The points that have a range."""
        left = self.in_float | in_float
        return {name: point for name, point in self.points.items() if name not in left}

    def simulated(self, in_float: frozenset[str] = frozenset()) -> keras.Model:
        """The INT8 model in float32, with some more points left in float."""
        return simulate(self.model, self.quantized(in_float), self.found)

    def rebuilt(self) -> keras.Model:
        """Another model like `simulated`, with variables of its own."""
        model = fold(self.source)
        found = points(model, self.signature)
        return simulate(model, {name: found[name] for name in self.quantized()}, self.found)

    def score(self, in_float: frozenset[str] = frozenset()) -> tuple[float, float]:
        """(accuracy, minus loss) of the INT8 model on the validation images."""
        return evaluate.score(self.simulated(in_float), self.dataset.validation, self.signature)

    def observe(self) -> dict[str, Histogram]:
        """What the float model, as it is now, holds at the quantized points."""
        images = self.dataset.calibration.images[:]
        batches = [
            self.signature.preprocess(images[at : at + CALIBRATION_BATCH])
            for at in range(0, len(images), CALIBRATION_BATCH)
        ]
        return observe(self.model, self.quantized(), batches)

    def calibrate(self) -> dict[str, Any]:
        """Find the ranges, by the method asked for or by the one that scores best."""
        images = self.dataset.calibration.images[:]
        placed, knobs = self.quantized(), self.settings.quantize
        histograms = self.observe()
        methods = METHODS if knobs.calibration == "auto" else (knobs.calibration,)
        tried: dict[str, tuple[tuple[float, float], Ranges]] = {}
        for method in methods:
            self.found = find_ranges(self.model, placed, histograms, method, knobs.percentile)
            tried[method] = (self.score(), self.found)
            progress.report(
                f"calibrated by {method}: validation accuracy {tried[method][0][0]:.2%}"
            )
        best = max(tried, key=lambda method: tried[method][0])
        self.found = tried[best][1]
        return {
            "method": best,
            "validation_top1": {method: score[0] for method, (score, _) in tried.items()},
            "samples": len(images),
            "images_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        }

    def fine_tune(self) -> dict[str, Any]:
        """Train weights and ranges, also on the float model's answers; keep what scores better."""
        simulated, knobs = self.simulated(), self.settings.quantize
        calibrated = evaluate.score(simulated, self.dataset.validation, self.signature)
        before = simulated.get_weights()
        hold(simulated)
        evidence = fit(
            simulated,
            self.dataset,
            self.signature,
            knobs,
            label="quantize",
            data=self.settings.data,
            teacher=Teacher(self.source, knobs.distillation),
            rebuild=self.rebuilt,
            checkpoint=self.checkpoint,
            logs=self.logs,
        )
        trained = evaluate.score(simulated, self.dataset.validation, self.signature)
        # Not by the loss: training with smoothed labels changes what a loss can be.
        kept = "trained" if knobs.epochs and trained[0] >= calibrated[0] else "calibrated"
        if kept == "calibrated":
            simulated.set_weights(before)
        learned = {name: simulated.get_layer(layer_name(name)).learned() for name in self.found}
        self.found = tie(learned, tied(self.model, self.quantized()))
        return {
            "kept": kept,
            "calibrated_validation_top1": calibrated[0],
            "trained_validation_top1": trained[0] if knobs.epochs else None,
            **evidence,
        }

    def fall_back(self) -> dict[str, Any]:
        """Leave layers in float until the accuracy is within the budget, if there is one."""
        budget, candidates = self.settings.quantize.max_accuracy_drop, []
        reference = evaluate.score(self.source, self.dataset.validation, self.signature)[0]
        asked_for = self.in_float
        if budget is not None and self.score()[0] < reference - budget / 100:
            milliseconds = fallback.layer_milliseconds(self.model, self.signature)
            candidates = fallback.rank(self.model, self.quantized(), self.score, milliseconds)
            least = reference - budget / 100
            self.in_float |= fallback.fewest(candidates, self.score, least)
            self.found = {name: self.found[name] for name in self.quantized()}
        return {
            "float_validation_top1": reference,
            "float_points": sorted(self.in_float),
            "float_layers": fallback.layers_of(self.model, self.points, self.in_float),
            "sensitivity": fallback.describe(candidates, self.in_float - asked_for),
        }

    def count_saturation(self) -> dict[str, Any]:
        """What the final ranges clip of the calibration images, per point."""
        histograms = self.observe()
        self.found = {
            name: replace(spec, saturated_share=saturated_share(histograms[name], spec.amax))
            for name, spec in self.found.items()
        }
        return {
            name: dict(
                zip(("low", "high"), spec.limits("cpu"), strict=True),
                samples_clipped_share=spec.saturated_share,
            )
            for name, spec in self.found.items()
        }


def snap_biases(model: keras.Model, placed: Mapping[str, Point], found: Ranges) -> None:
    """Move the biases of the folded `model`, in place, to the steps that integer engines have."""
    quantized_inputs = inputs_of_weighted(model, placed)
    for call in calls(model):
        point = quantized_inputs.get(id(call.outputs[0]))
        if point is not None:
            layer = call.operation
            kernel_scales = qparams.kernel_scales(kernel_of(layer).numpy(), output_axis(layer))
            step = kernel_scales * found[point.name].scale("cpu")
            layer.bias.assign(qparams.snap(layer.bias.numpy(), step))
