"""Stage `prune`: a trained model in, an ordinary smaller one out, repaired by a short fine-tune."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from stages import datasets, evaluate, keras_files, progress
from stages.datasets import DataSet
from stages.errors import ModelError
from stages.fit import Teacher, fit, reset
from stages.keras_graph.channels import Group, groups
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.fold import flatten, output_axis
from stages.keras_graph.shrink import shrink
from stages.keras_graph.walk import calls
from stages.numerics.channel_scores import Scores, group_scores, layer_scores, strongest
from stages.settings import PruneStage
from stages.signature import Signature

MODEL_FILE = "model.keras"
PRODUCERS = (keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.Dense)
"""Layers whose kernels make new channels."""


def run(settings: PruneStage, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Remove `prune.ratio` of the channels of every group, fine-tune, and write the model.

    Ratio 0 copies the trained model byte for byte. Returns the measurements on the test split.
    Raises ModelError for a model in which nothing can be removed.
    """
    reset(settings.prune.seed)
    source = inputs["train"]
    signature = Signature.read(source)
    dataset = datasets.load(settings.data)
    trained = keras_files.load(source / MODEL_FILE)
    removed: dict[str, Any]
    if settings.prune.ratio == 0:
        shutil.copyfile(source / MODEL_FILE, out / MODEL_FILE)
        model, removed = trained, {"groups": [], "accuracy_before_finetune": None}
    else:
        model, removed = _prune(trained, settings, dataset, signature)
        keras_files.save(model, out / MODEL_FILE)
    signature.write(out)
    details = {
        **removed,
        "parameters_before": int(trained.count_params()),
        "parameters_after": int(model.count_params()),
    }
    return {**evaluate.measure(model, dataset.test, signature), "details": details}


def _prune(
    trained: keras.Model, settings: PruneStage, dataset: DataSet, signature: Signature
) -> tuple[keras.Model, dict[str, Any]]:
    """The smaller model, fine-tuned, and what was removed."""
    model, widths = remove_channels(trained, settings.prune.ratio)
    broken = evaluate.accuracy(model, dataset.test, signature)
    progress.report(
        f"{model.count_params()} of {trained.count_params()} parameters left, "
        f"accuracy {broken['top1']:.2%} before the fine-tune"
    )
    shift_pixels = settings.data.shift_pixels
    teacher = Teacher(trained, settings.prune.distillation)
    fit(
        model,
        dataset,
        signature,
        settings.prune,
        label="prune",
        shift_pixels=shift_pixels,
        teacher=teacher,
    )
    return model, {"groups": widths, "accuracy_before_finetune": broken}


def remove_channels(model: keras.Model, ratio: float) -> tuple[keras.Model, list[dict[str, Any]]]:
    """A smaller copy of `model`, and for every group its layers and its width before and after.

    Raises ModelError where no channel can be removed.
    """
    flat = flatten(model)
    found = groups(flat)
    scores = _layer_scores(flat)
    kept = [strongest(group_scores(group.channels, scores), ratio) for group in found]
    widths = [
        {
            "layers": list(group.layers),
            "channels_before": len(group.channels),
            "channels_after": len(keep),
        }
        for group, keep in zip(found, kept, strict=True)
    ]
    _check_something_goes(model.name, found, sum(map(len, kept)), ratio)
    return shrink(flat, kept), widths


def _layer_scores(flat: keras.Model) -> dict[str, Scores]:
    """Scores of the output channels of every convolution and Dense layer, by name."""
    graph = calls(flat)
    gammas = {
        id(call.inputs[0]): call.operation.gamma.numpy()
        for call in graph
        if isinstance(call.operation, keras.layers.BatchNormalization) and call.operation.scale
    }
    return {
        call.operation.name: layer_scores(
            kernel_of(call.operation).numpy(),
            output_axis(call.operation),
            gammas.get(id(call.outputs[0])),
        )
        for call in graph
        if isinstance(call.operation, PRODUCERS)
    }


def _check_something_goes(name: str, found: list[Group], left: int, ratio: float) -> None:
    if not found:
        raise ModelError(
            f"the model {name!r} has no channels that can be removed: its outputs must stay, and "
            "so must all channels that reach a layer which pruning does not know",
            "leave it as it is: --set prune.ratio=0",
        )
    widest = max(len(group.channels) for group in found)
    if left == sum(len(group.channels) for group in found):
        raise ModelError(
            f"prune.ratio {ratio} removes no channel of {name!r}: "
            f"its widest group of layers has {widest} channels",
            f"use at least --set prune.ratio={1 / widest:.3f}, or 0 to leave the model as it is"
            if widest > 1
            else "leave it as it is: --set prune.ratio=0",
        )
