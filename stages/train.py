"""Stage `train`: a data set and a network in, the trained float32 model and its signature out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages import datasets, models, progress
from stages.artifacts.signature import Signature
from stages.datasets import DataSet
from stages.models import files
from stages.settings import Data, TrainStage
from stages.training import evaluate
from stages.training.fit import fit, prepare


def run(
    settings: TrainStage,
    inputs: Mapping[str, Path],
    out: Path,
    resume: Path | None = None,
    logs: Path | None = None,
) -> dict[str, Any]:
    """Train, and write `model.keras` and `signature.json` into `out`.

    With `model.source` the user's model is trained further for `train.epochs`, or taken
    as it is with 0 epochs. Every epoch is kept in the folder `resume`, where one is given, and
    learning curves are written to `logs`. Returns the measurements on the test split.
    """
    prepare(settings.train)
    dataset = datasets.load(settings.data)
    signature = describe(dataset, settings.data)
    pixels = (signature.scale, signature.offset)
    model = models.create(settings.model, signature.input_shape, len(dataset.class_names), pixels)
    progress.report(f"{model.name}, {len(dataset.train.labels)} training images")
    details = fit(
        model,
        dataset,
        signature,
        settings.train,
        label="train",
        data=settings.data,
        precision=settings.train.precision,
        checkpoint=None if resume is None else resume / "training.npz",
        logs=logs,
        is_profiled=settings.train.profile,
    )
    if settings.model.freeze_base:
        model.trainable = True  # what pruning and rounding break, the later fine-tunes repair
    files.save(model, out / "model.keras")
    signature.write(out)
    measured = evaluate.measure(model, dataset.test, signature)
    measured["details"] |= details
    return {**measured, "dataset": counts(dataset)}


def describe(dataset: DataSet, data: Data) -> Signature:
    """The signature of a model for `dataset`."""
    height, width, channels = dataset.train.images.shape[1:]
    return Signature(
        input_shape=(height, width, channels),
        class_names=tuple(dataset.class_names),
        scale=data.scale,
        offset=data.offset,
    )


def counts(dataset: DataSet) -> dict[str, Any]:
    """How many images each split holds, for the report."""
    return {
        "name": dataset.name,
        "train_samples": len(dataset.train.labels),
        "validation_samples": len(dataset.validation.labels),
        "calibration_samples": len(dataset.calibration.labels),
        "test_samples": len(dataset.test.labels),
        "skipped_images": len(dataset.skipped),
    }
