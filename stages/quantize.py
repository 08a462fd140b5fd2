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
import numpy as np

from stages import progress
from stages.artifacts import ranges
from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.datasets.loading import load_dataset
from stages.datasets.several import wanted_by
from stages.keras_graph.cost import multiply_adds
from stages.keras_graph.fake_quant import layer_name, simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import Point, points
from stages.keras_graph.zeros import freeze_zeros
from stages.models import files, own_source
from stages.numerics.calibration import Histogram, saturated_share
from stages.quantization import fallback
from stages.quantization.bias_correction import Shifts, biases_of, mean_shifts, set_biases
from stages.quantization.bias_steps import snap_biases
from stages.quantization.calibrate import METHODS, Ranges, find_ranges, observe, tie
from stages.quantization.method_choice import PER_TENSOR, choose, combine, output_changes
from stages.results.quantization import (
    BiasCorrection,
    CalibrationFacts,
    FineTuneChoice,
    FloatCandidate,
    FloatFallback,
    QuantizeDetails,
    QuantizeResult,
    RangeFacts,
    Saturation,
)
from stages.settings import Data, Quantize, QuantizeStage
from stages.training import evaluate
from stages.training.fit import Teacher, TrainingRun, fit, prepare

CALIBRATION_BATCH = 64
CHECKPOINT = "training.npz"


def run(
    settings: QuantizeStage,
    inputs: Mapping[str, Path],
    out: Path,
    resume: Path | None = None,
    logs: Path | None = None,
) -> QuantizeResult:
    """Quantize, and write `model.keras`, `ranges.json` and `signature.json` into `out`.

    Every epoch of the fine-tune is saved in the folder `resume`, if given, to resume from, and its
    learning curves are written to `logs`. Returns the measurements of the simulated INT8 model on
    the test split. Raises ModelError if nothing can be quantized, and GateFailed if INT8 misses
    `quantize.max_accuracy_drop` even with half of the layers in float.
    """
    prepare(settings.quantize)
    own_source.make_known(settings.model)
    signature = Signature.read(inputs["prune"])
    dataset = load_dataset(settings.data, *wanted_by(signature))
    source = files.load(inputs["prune"] / "model.keras")
    checkpoint = None if resume is None else resume / CHECKPOINT
    quantizer = Quantizer(
        source, dataset, signature, settings.quantize, settings.data, checkpoint, logs
    )
    calibration = quantizer.calibrate()
    correction = quantizer.try_bias_correction() if settings.quantize.epochs == 0 else None
    fine_tune = quantizer.fine_tune()
    fall_back = quantizer.fall_back()
    saturation = quantizer.count_saturation()
    model, found = quantizer.model, quantizer.ranges
    # Only now: a step of a bias is input scale x kernel scale, and neither changes any
    # more. Integer engines round biases to these steps; snapped, Keras and they
    # compute the same (decision 6).
    snap_biases(model, quantizer.quantized(), found)
    files.save(model, out / "model.keras")
    ranges.write({name: found.get(name) for name in quantizer.points}, out)
    simulated = quantizer.simulated()
    signature = evaluate.with_thresholds(signature, simulated, dataset.validation)
    signature.write(out)
    measured = evaluate.measure(simulated, dataset.test, signature, "fake_int8")
    size = {"parameters": model.count_params(), "multiply_adds": multiply_adds(model)}
    return QuantizeResult(
        model=measured.model.model_copy(update=size),
        accuracy=measured.accuracy,
        latency=measured.latency,
        details=QuantizeDetails(
            classification=measured.classification,
            calibration=calibration,
            bias_correction=correction,
            ranges={name: RangeFacts(**vars(spec)) for name, spec in found.items()},
            saturation=saturation,
            **dict(fine_tune),
            **dict(fall_back),
        ),
    )


@dataclass
class Quantizer:
    """The folded model with its ranges, as calibration, fine-tune and fallback leave them."""

    source: keras.Model
    dataset: DataSet
    signature: Signature
    settings: Quantize
    data: Data
    checkpoint: Path | None
    logs: Path | None

    def __post_init__(self) -> None:
        # Folded before anything is observed: ranges, kernel scales and the fine-tune must be those
        # of the kernels that engines run, and folding later would change every kernel scale.
        self.model = fold(self.source)
        self.points = points(self.model, self.signature)
        self.in_float = fallback.excluded_points(
            self.model, self.points, self.settings.exclude_layers
        )
        self.ranges: Ranges = {}
        self.corrects_biases = False
        self.folded_biases = biases_of(self.model)

    def quantized(self, in_float: frozenset[str] = frozenset()) -> dict[str, Point]:
        """The points that have a range."""
        left = self.in_float | in_float
        return {name: point for name, point in self.points.items() if name not in left}

    def simulated(self, in_float: frozenset[str] = frozenset()) -> keras.Model:
        """The INT8 model in float32, with the points `in_float` left in float as well."""
        return simulate(self.model, self.quantized(in_float), self.ranges)

    def rebuilt(self) -> keras.Model:
        """Another model like `simulated`, with variables of its own."""
        model = fold(self.source)
        # Points hold tensors of their model: those of self.model do not fit this one.
        found = points(model, self.signature)
        return simulate(model, {name: found[name] for name in self.quantized()}, self.ranges)

    def score(self, in_float: frozenset[str] = frozenset()) -> tuple[float, float]:
        """(accuracy, minus loss) of the INT8 model on the validation images."""
        if self.corrects_biases:
            self.correct_biases(in_float)
        return evaluate.score(self.simulated(in_float), self.dataset.validation, self.signature)

    def batches(self) -> list[Any]:
        """The calibration images as model input: float32 (N, H, W, C) each."""
        images = self.dataset.calibration.images[:]
        return [
            self.signature.preprocess(images[at : at + CALIBRATION_BATCH])
            for at in range(0, len(images), CALIBRATION_BATCH)
        ]

    def observe(self) -> dict[str, Histogram]:
        """Histograms of the float model, as it is now, at the quantized points."""
        return observe(self.model, self.quantized(), self.batches())

    def calibrate(self) -> CalibrationFacts:
        """Find the ranges by the method of the settings, or with "auto" by one for each tensor.

        Every method is also tried for all tensors at once, and taken if that scores better.
        """
        images = self.dataset.calibration.images[:]
        placed, chosen, histograms = self.quantized(), self.settings.calibration, self.observe()
        candidates = {
            method: find_ranges(self.model, placed, histograms, method, self.settings.percentile)
            for method in (METHODS if chosen == "auto" else (chosen,))
        }
        methods = {method: dict.fromkeys(placed, method) for method in candidates}
        if chosen == "auto":
            changes = output_changes(self.model, placed, candidates, self.batches())
            methods = {PER_TENSOR: choose(self.model, placed, changes), **methods}
        scores = {}
        for name, by_point in methods.items():
            self.ranges = combine(candidates, by_point)
            scores[name] = self.score()
            words = self.signature.words
            progress.report(f"calibrated by {name}: validation {words} {scores[name][0]:.2%}")
        # By accuracy, not by rounding error: clipping outliers often makes the error
        # larger and the network better.
        best = max(scores, key=lambda name: scores[name])
        self.ranges = combine(candidates, methods[best])
        return CalibrationFacts(
            method=best,
            methods=methods[best],
            validation_top1={name: score[0] for name, score in scores.items()},
            samples=len(images),
            images_sha256=hashlib.sha256(images.tobytes()).hexdigest(),
        )

    def try_bias_correction(self) -> BiasCorrection:
        """Correct the biases, and keep that unless the model is worse on the validation images."""
        before = self.score()
        self.corrects_biases = True
        after, shifts = self.score(), self.correct_biases()
        self.corrects_biases = after >= before
        if not self.corrects_biases:
            set_biases(self.model, self.folded_biases)
        return BiasCorrection(
            is_kept=self.corrects_biases,
            validation_top1_before=before[0],
            validation_top1_after=after[0],
            largest_shift={name: float(np.abs(shift).max()) for name, shift in shifts.items()},
        )

    def correct_biases(self, in_float: frozenset[str] = frozenset()) -> Shifts:
        """Correct the biases for what is quantized with the points `in_float` left in float."""
        # From the folded ones on: what a layer needed in INT8 would be wrong in float.
        set_biases(self.model, self.folded_biases)
        shifts = mean_shifts(self.model, self.quantized(in_float), self.ranges, self.batches())
        set_biases(self.model, self.folded_biases, shifts)
        return shifts

    def fine_tune(self) -> FineTuneChoice:
        """Train weights and ranges, also on the float model's answers; keep what scores better."""
        simulated, settings = self.simulated(), self.settings
        calibrated = evaluate.metric(simulated, self.dataset.validation, self.signature)
        # The simulation shares its layers with self.model, so training and undoing change both.
        before = simulated.get_weights()
        freeze_zeros(simulated)
        training = fit(
            simulated,
            TrainingRun(
                self.dataset,
                self.signature,
                settings,
                label="quantize",
                data=self.data,
                teacher=Teacher(
                    self.source,
                    settings.distillation,
                    settings.temperature,
                ),
                rebuild=self.rebuilt,
                checkpoint=self.checkpoint,
                logs=self.logs,
            ),
        )
        trained = evaluate.metric(simulated, self.dataset.validation, self.signature)
        # Not by the loss: training with smoothed labels changes what a loss can be.
        is_better = settings.epochs > 0 and trained >= calibrated
        if not is_better:
            simulated.set_weights(before)
        learned = {name: simulated.get_layer(layer_name(name)).learned() for name in self.ranges}
        # Each was learned for itself, so tied ones have drifted apart.
        self.ranges = tie(self.model, self.quantized(), learned)
        return FineTuneChoice(
            kept="trained" if is_better else "calibrated",
            calibrated_validation_top1=calibrated,
            trained_validation_top1=trained if settings.epochs else None,
            **dict(training),
        )

    def fall_back(self) -> FloatFallback:
        """Leave layers in float until the accuracy is within the budget, if there is one."""
        budget, candidates = self.settings.max_accuracy_drop, list[FloatCandidate]()
        reference = evaluate.metric(self.source, self.dataset.validation, self.signature)
        excluded = self.in_float
        if budget is not None and self.score()[0] < reference - budget / 100:
            milliseconds = fallback.layer_milliseconds(self.model, self.signature)
            candidates = fallback.rank(self.model, self.quantized(), self.score, milliseconds)
            least = reference - budget / 100
            self.in_float |= fallback.fewest(candidates, self.score, least)
            self.ranges = {name: self.ranges[name] for name in self.quantized()}
            if self.corrects_biases:
                self.correct_biases()
        return FloatFallback(
            float_validation_top1=reference,
            float_points=tuple(sorted(self.in_float)),
            float_layers=fallback.layers_of(self.model, self.points, self.in_float),
            sensitivity=tuple(
                each.model_copy(update={"is_float": each.point in self.in_float - excluded})
                for each in candidates
            ),
        )

    def count_saturation(self) -> dict[str, Saturation]:
        """What the final ranges clip of the calibration images, per point."""
        histograms = self.observe()
        self.ranges = {
            name: replace(
                spec, saturated_share=saturated_share(histograms[name], spec.low, spec.high)
            )
            for name, spec in self.ranges.items()
        }
        found = {}
        for name, spec in self.ranges.items():
            low, high = spec.limits("cpu")
            found[name] = Saturation(low=low, high=high, samples_clipped_share=spec.saturated_share)
        return found
