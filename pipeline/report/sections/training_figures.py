"""Learning curves of every stage that trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from pipeline.report.svg import ACCENT, QUIET, Chart, figure_of, panels
from pipeline.results import comparability
from pipeline.results.comparability import Report
from pipeline.results.evidence import Evidence

TITLES = {
    "train": "Training",
    "prune": "Fine-tune after pruning",
    "quantize": "Training with rounding to INT8",
}

Epoch = Mapping[str, Any]


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """Loss above, accuracy below, over the epochs."""
    for name, title in TITLES.items():
        epochs = history(report, name)
        if len(epochs) > 1:
            yield _curves(name, title, epochs)


def history(report: Report, stage: str) -> list[Epoch]:
    """What was recorded of every epoch; [] of a stage that recorded none."""
    found = comparability.stage_named(report, stage)
    epochs = found["details"].get("history") if found else None
    if not isinstance(epochs, Sequence):
        return []
    return [epoch for epoch in epochs if isinstance(epoch, Mapping)]


def _curves(name: str, title: str, epochs: Sequence[Epoch]) -> Chart:
    losses, accuracies = panels(280, 2, left=44, bottom=38, top=24)
    numbers = list(range(1, len(epochs) + 1))
    for axes, key, factor in ((losses, "loss", 1.0), (accuracies, "accuracy", 100.0)):
        learnt, checked = (_values(epochs, each, factor) for each in (key, f"val_{key}"))
        axes.plot(numbers, learnt, color=QUIET, ls="--", lw=1.5, label="training images")
        axes.plot(numbers, checked, color=ACCENT, label="validation images")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="y")
    losses.set_ylabel("loss")
    losses.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=2, borderpad=0)
    accuracies.set_ylabel("accuracy, %")
    accuracies.set_xlabel("epoch")
    accuracies.xaxis.set_major_locator(MaxNLocator(integer=True))
    return Chart("training", f"curves-{name}", title, _told(epochs), figure_of(losses))


def _values(epochs: Sequence[Epoch], key: str, factor: float) -> list[float]:
    return [np.nan if epoch.get(key) is None else factor * epoch[key] for epoch in epochs]


def _told(epochs: Sequence[Epoch]) -> str:
    last = epochs[-1]
    words = {"loss": "training loss", "val_loss": "validation loss"}
    shares = {"accuracy": "training accuracy", "val_accuracy": "validation accuracy"}
    parts = [f"{text} {last[key]:.4g}" for key, text in words.items() if last.get(key) is not None]
    parts += [
        f"{text} {100 * last[key]:.2f} %"
        for key, text in shares.items()
        if last.get(key) is not None
    ]
    return f"After {len(epochs)} epochs: {', '.join(parts)}."
