"""What all ways to prune work with: settings, data, the trained model, and one round of work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from stages import progress
from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.errors import LossNotFinite, SettingsError
from stages.keras_graph import zeros
from stages.keras_graph.fold import without_dropout
from stages.models import files
from stages.numerics.channel_scores import Scores
from stages.pruning import structured
from stages.pruning.criteria import TAYLOR_BATCHES, layer_scores
from stages.pruning.recalibrate import recalibrate
from stages.pruning.rounds import FinishedRound, ResumeStore, Round, run_rounds
from stages.pruning.stopwatch import Stopwatch
from stages.pruning.structured import Widths
from stages.settings import Build, Data, Prune, TensorRT
from stages.training import evaluate
from stages.training.fit import Teacher, TrainingRun, batches, fit, reset
from stages.training.losses import ask

RECALIBRATION_IMAGES = 1024
"""For the mean and variance of a channel: with positions, thousands of values each."""


@dataclass(frozen=True)
class PruneContext:
    """One run of the stage `prune`; `source` is the file of `trained`.

    `build` and `tensorrt` are how TensorRT builds the engines that are timed.
    """

    settings: Prune
    data: Data
    dataset: DataSet
    signature: Signature
    source: Path
    trained: keras.Model
    store: ResumeStore
    logs: Path | None
    build: Build | None = None
    tensorrt: TensorRT | None = None

    def validation_score(self, model: keras.Model) -> float:
        """Accuracy, or what decides in the task, on the validation images: test images decide
        nothing.
        """
        return evaluate.metric(model, self.dataset.validation, self.signature)

    def recalibrated(self, model: keras.Model) -> keras.Model:
        """`model`, whose batch normalisation has the statistics of some training images now.

        The same ones for every model, as they are, for it is judged on images as they are.
        """
        images, size = self.dataset.train.images, self.settings.batch_size
        order = np.random.default_rng(self.settings.seed).permutation(len(images))
        chosen = order[:RECALIBRATION_IMAGES]
        parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        recalibrate(model, (self.signature.preprocess(images[part]) for part in parts))
        return model

    def candidate_score(self, model: keras.Model, images: int = 0) -> float:
        """Accuracy on the validation images that says most of what a fine-tune will reach.

        That after an epoch of it on `images` training images: the same ones for every model. Of one
        whose loss is no longer finite, that before it.
        """
        model = self.recalibrated(without_dropout(model))
        if images:
            few = replace(self.dataset, train=self.dataset.train.sample(images))
            before = model.get_weights()
            try:
                fit(model, replace(self._fine_tune(1), dataset=few, is_told=False))
            except LossNotFinite:
                model.set_weights(before)
        return self.validation_score(model)

    def scores(self, flat: keras.Model) -> dict[str, Scores]:
        """Of the channels of a flat model, by the criterion."""
        if self.settings.criterion == "taylor" and any(
            each.task == "raw" for each in self.signature.each
        ):
            raise SettingsError(
                "prune.criterion is 'taylor', which is of a loss, and none is known of raw outputs",
                "choose another: --set prune.criterion=l2",
            )
        some = batches(self.dataset, self.signature, self.settings, self.data)
        return layer_scores(
            flat,
            self.settings.criterion,
            some.take(TAYLOR_BATCHES),
            questions=ask(self.dataset, self.signature),
        )

    def narrower(self, flat: keras.Model) -> Callable[[Widths], keras.Model]:
        """A function that returns smaller copies of a flat model, by the criterion."""
        scores = self.scores(flat)

        def narrow(widths: Widths) -> keras.Model:
            # A copied layer of noise takes its seed here, whatever was made before it.
            keras.utils.set_random_seed(self.settings.seed)
            return structured.narrow(flat, widths, scores)

        return narrow

    def stopwatch(self, reference: keras.Model) -> Stopwatch:
        """Latency against `reference` on the engine `prune.target`, with so many images a call."""
        images = self.signature.preprocess(self.dataset.calibration.images[:])
        return Stopwatch(
            self.settings.target,
            reference,
            self.signature,
            images,
            self.settings.target_batch_size,
            build=self.build,
            tensorrt=self.tensorrt,
        )

    def run_rounds(
        self,
        rounds: Sequence[Round],
        is_too_much: Callable[[FinishedRound], bool] = lambda finished: False,
    ) -> tuple[Path, list[FinishedRound]]:
        """See rounds.run_rounds; the first round works on the trained model."""
        return run_rounds(self.source, rounds, self.store, self._work, is_too_much)

    def _work(self, file: Path, each: Round) -> tuple[keras.Model, FinishedRound]:
        """Prune and fine-tune, without dropout; weights that are exactly zero stay zero."""
        # In every round: layers that are random in training draw from a seed that is taken when
        # the model is loaded, and a resumed run must draw what an uninterrupted one would
        # (decision 8).
        reset(self.settings.seed)
        model = self.recalibrated(without_dropout(each.prune(files.load(file))))
        # For the record only; every decision uses the validation images.
        pruned = evaluate.accuracy(model, self.dataset.test, self.signature)
        progress.report(
            f"{model.count_params()} of {self.trained.count_params()} parameters, "
            f"{pruned.words} {pruned.score or 0.0:.2%} on the test images before the fine-tune"
        )
        # Between pruning and training: the constraint is read off the
        # zeros that pruning has just made.
        zeros.freeze_zeros(model)
        run = replace(
            self._fine_tune(each.epochs),
            checkpoint=self.store.checkpoint(file),
            logs=self.logs and self.logs / f"after-{file.stem}",
        )
        training = fit(model, run)
        return model, FinishedRound(
            parameters=int(model.count_params()),
            epochs=each.epochs,
            accuracy_before_finetune=pruned,
            validation_top1=self.validation_score(model),
            is_kept=True,
            training=training,
        )

    def _fine_tune(self, epochs: int) -> TrainingRun:
        """The training of a pruned model, with the unpruned one as its teacher."""
        wanted = self.settings
        return TrainingRun(
            self.dataset,
            self.signature,
            wanted.model_copy(update={"epochs": epochs}),
            label="prune",
            data=self.data,
            teacher=Teacher(
                self.trained,
                wanted.distillation,
                wanted.temperature,
                map_weight=wanted.map_distillation,
            ),
            precision=wanted.precision,
        )
