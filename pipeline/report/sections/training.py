"""Learning curves of every stage that trains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.report.svg import ACCENT, QUIET, Chart, figure_of, limit_ticks, panels
from pipeline.results.model import Report
from stages.results.base import Quality
from stages.results.training import Epoch, TrainingDetails

if TYPE_CHECKING:
    from pipeline.results.evidence import Evidence

TITLES = {
    "train": "Training",
    "prune": "Fine-tune after pruning",
    "quantize": "Training with rounding to INT8",
}


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """Loss above, what was right below, over the epochs."""
    for stage in report.stages:
        if isinstance(stage.details, TrainingDetails) and len(stage.details.history) > 1:
            title = TITLES.get(stage.stage, f"Training in {stage.stage}")
            yield _curves(f"curves-{stage.stage}", title, stage.details.history, stage.accuracy)


def _curves(name: str, title: str, epochs: Sequence[Epoch], quality: Quality) -> Chart:
    """Of other tasks than classification a training epoch knows no metric, only right answers."""
    losses, accuracies = panels(280, 2, left=44, bottom=38, top=24)
    numbers = range(1, len(epochs) + 1)
    curves = (
        (losses, 1.0, [(each.loss, each.val_loss) for each in epochs]),
        (accuracies, 100.0, [(_of_training(each, quality), each.val_accuracy) for each in epochs]),
    )
    for axes, factor, pairs in curves:
        train, validation = (
            [math.nan if value is None else factor * value for value in values]
            for values in zip(*pairs, strict=True)
        )
        axes.plot(numbers, train, color=QUIET, ls="--", lw=1.5, label="training images")
        axes.plot(numbers, validation, color=ACCENT, label="validation images")
        limit_ticks(axes.yaxis, 4)
        axes.grid(axis="y")
    losses.set_ylabel("loss")
    losses.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=2, borderpad=0)
    accuracies.set_ylabel(f"{quality.words}, %")
    accuracies.set_xlabel("epoch")
    limit_ticks(accuracies.xaxis, 10, integer=True)
    return Chart(name, title, _in_words(epochs, quality), figure_of(losses))


def _of_training(epoch: Epoch, quality: Quality) -> float | None:
    return epoch.accuracy if quality.is_counted else None


def _in_words(epochs: Sequence[Epoch], quality: Quality) -> str:
    last, metric = epochs[-1], quality.words
    losses = {"training loss": last.loss, "validation loss": last.val_loss}
    trained = _of_training(last, quality)
    shares = {f"training {metric}": trained, f"validation {metric}": last.val_accuracy}
    parts = [f"{words} {value:.4g}" for words, value in losses.items() if value is not None]
    parts += [
        f"{words} {100 * value:.2f} %" for words, value in shares.items() if value is not None
    ]
    return f"After {len(epochs)} epochs: {', '.join(parts)}."
