"""Stage `train`: a data set and a network in, the trained float32 model and its signature out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras

from stages import progress
from stages.artifacts.signature import Signature
from stages.conversion.rehearsal import rehearse
from stages.datasets import repeats
from stages.datasets.base import DataSet, Split
from stages.datasets.several import check_judged
from stages.models import files
from stages.results.training import TrainDetails, TrainingDetails, TrainResult
from stages.settings import TrainStage
from stages.training import evaluate, standard_head
from stages.training.description import counts
from stages.training.fit import TrainingRun, prepare
from stages.training.losses import standard
from stages.training.network import create, load
from stages.training.phases import fit_in_phases, thaw
from stages.training.scaling import doubt, doubts_of_vectors, refuse_other_scaling
from stages.training.unlike_columns import doubts_of_columns


def run(
    settings: TrainStage,
    inputs: Mapping[str, Path],
    out: Path,
    resume: Path | None = None,
    logs: Path | None = None,
) -> TrainResult:
    """Train, and write `model.keras` and `signature.json` into `out`, and `model.h5` if asked.

    With `model.source` the user's model is trained further for `train.epochs`, or kept unchanged
    with 0 epochs. Every epoch is saved in the folder `resume`, if given, to resume from; learning
    curves and the profile go to the folder `logs`. Returns the measurements on the test split.
    Raises ModelError for a trained model that clearly wants its pixels scaled in another way, and
    ConversionError or ModelError for a user's model that cannot be converted.
    """
    prepare(settings.train)
    model, signature, dataset = create(settings, load(settings))
    check_judged(dataset)
    notes = repeats.found(dataset)
    for note in notes:
        progress.warn(note)
    if signature.metric:  # what fails does so before the training
        evaluate.metric(model, dataset.validation, signature)
    tell(model, signature, dataset.train, settings)
    if settings.model.source is not None:
        try_own_model(model, signature, dataset.validation, settings)
    if settings.train.save_h5:
        files.save_h5(model, out / "model.h5")  # a refusal after the training would be late
    progress.report(f"{model.name}, {len(dataset.train.labels)} training images")
    trained = learn(model, signature, dataset, settings, resume, logs)
    files.save(model, out / "model.keras")
    if settings.train.save_h5:
        files.save_h5(model, out / "model.h5")
    signature = evaluate.with_thresholds(signature, model, dataset.validation)
    signature.write(out)
    measured = evaluate.measure(model, dataset.test, signature)
    return TrainResult(
        notes=notes,
        model=measured.model,
        accuracy=measured.accuracy,
        latency=measured.latency,
        details=TrainDetails(classification=measured.classification, **dict(trained)),
        dataset=counts(dataset),
    )


def tell(model: keras.Model, signature: Signature, train: Split, settings: TrainStage) -> None:
    """Report what the network is given and asked, and warn of what will hardly be learned."""
    if signature.inputs:
        given = ", ".join(f"{x.name} {x.input_shape} {x.data_dtype}" for x in signature.inputs)
        progress.report(f"the inputs are {given}")
        for words in doubts_of_vectors(signature):
            progress.warn(words)
    for words in doubts_of_columns(model, train, signature):
        progress.warn(words)
    if signature.heads:
        each = ", ".join(f"{head.name} ({head.task})" for head in signature.heads)
        progress.report(f"the outputs are {each}")
    elif signature.task != "classification":
        progress.report(f"the task is {signature.task}")
    is_shifted = settings.data.shifts and any(
        len(each.input_shape) == 3 for each in signature.each_input
    )
    if any(each.task == "regression" for each in signature.each) and is_shifted:
        progress.warn(
            f"training images are shifted by up to {settings.data.shift_pixels} pixels, their "
            "targets are not: if these are places, set data.shift_pixels=0"
        )


def try_own_model(
    model: keras.Model, signature: Signature, validation: Split, settings: TrainStage
) -> None:
    """Convert the user's model before the training, and doubt how its pixels are scaled.

    Raises ModelError and ConversionError as `run` does.
    """
    progress.report(f"{model.name}: tries the conversion")
    rehearse(model, signature)
    if settings.train.epochs == 0:
        refuse_other_scaling(model, validation, signature, str(settings.model.source))
    elif sentence := doubt(model, signature):
        progress.warn(sentence)


def learn(
    model: keras.Model,
    signature: Signature,
    dataset: DataSet,
    settings: TrainStage,
    resume: Path | None,
    logs: Path | None,
) -> TrainingDetails:
    """Train `model`, as `fit_in_phases` does.

    Numbers of any size are learned alike by a new head, which answers in their unit afterwards;
    another one does so all along. Raises ModelError, before the training, for a new head that
    cannot be scaled.
    """
    is_new = settings.model.source is None or settings.model.head is not None
    is_standard = signature.task == "regression" and is_new
    if is_standard:
        standard_head.require(model)  # a refusal after the training would be late
    trained = fit_in_phases(
        model,
        TrainingRun(
            dataset,
            signature,
            settings.train,
            label="train",
            data=settings.data,
            is_standard=is_standard,
            precision=settings.train.precision,
            checkpoint=None if resume is None else resume / "training.npz",
            logs=logs,
            profile=logs if settings.train.profile else None,
        ),
        settings.train,
    )
    if is_standard:
        standard_head.fold(model, *standard(dataset.train.labels))
    if settings.model.freeze_base:
        thaw(model)  # so that the fine-tunes can repair what pruning and rounding break
    return trained
