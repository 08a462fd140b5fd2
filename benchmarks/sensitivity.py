"""Whether the sensitivity table ranks channel groups as their accuracy after a fine-tune does.

    python benchmarks/sensitivity.py --artifacts FOLDER [--epochs N] [--ratios R ...]

Of the network in FOLDER/train, each channel group alone loses the share R of its channels. The
accuracy on the validation images is taken as the network is then, after batch normalisation was
recalibrated, and after a fine-tune of N epochs without distillation. Prints Markdown, and
Spearman's rank correlation of both with the last.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.loading import load_dataset
from stages.keras_graph.fold import flatten
from stages.models import files
from stages.pruning import structured
from stages.pruning.context import PruneContext
from stages.pruning.rounds import ResumeStore, Round
from stages.settings import Prune, TrainStage
from stages.training import evaluate
from stages.training.fit import prepare

COLUMNS = ("as it is", "recalibrated", "after the fine-tune")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.5, 0.75])
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    options = parser.parse_args()
    settings = Prune(
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        batch_size=64,
        channel_multiple=1,
        distillation=0.0,
    )
    print(f"| group | channels | {' | '.join(COLUMNS)} |")
    print(f"| --- | ---: |{' ---: |' * len(COLUMNS)}")
    with tempfile.TemporaryDirectory() as folder:
        context = trained_context(options.artifacts / "train", settings, Path(folder))
        tables = {str(ratio): measured(context, ratio) for ratio in options.ratios}
    tables["all"] = [row for rows in tables.values() for row in rows]
    print("\nSpearman's rank correlation with the accuracy after the fine-tune:\n")
    for name, rows in tables.items():
        *found, tuned = np.transpose(rows)
        shown = zip(COLUMNS, (f"{spearman(each, tuned):.2f}" for each in found), strict=False)
        print(f"- {name}: {', '.join(' '.join(pair) for pair in shown)}")


def trained_context(train: Path, settings: Prune, folder: Path) -> PruneContext:
    """The stage `prune` on the trained network, without distillation."""
    prepare(settings)
    recorded = json.loads((train / "record.json").read_text())["settings"]
    data = TrainStage.model_validate(recorded).data
    source = train / "model.keras"
    return PruneContext(
        settings=settings,
        data=data,
        dataset=load_dataset(data),
        signature=Signature.read(train),
        source=source,
        trained=files.load(source),
        store=ResumeStore(folder),
        logs=None,
    )


def measured(context: PruneContext, ratio: float) -> list[tuple[float, float, float]]:
    """Every group at `ratio`: the accuracies of COLUMNS."""
    flat = flatten(context.trained)
    narrow, rows = context.narrower(flat), []
    for group in structured.prunable(flat, (), context.settings.channel_multiple):
        widths = {group.layers: group.narrowed(ratio)}
        one = Round(lambda _, widths=widths: narrow(widths), context.settings.epochs)
        raw = evaluate.metric(narrow(widths), context.dataset.validation, context.signature)
        recalibrated = context.candidate_score(narrow(widths))
        with tempfile.TemporaryDirectory() as folder:
            alone = dataclasses.replace(context, store=ResumeStore(Path(folder)))
            _, (finished,) = alone.run_rounds([one])
        row = (raw, recalibrated, finished.validation_top1)
        name = f"{', '.join(group.layers)} | {widths[group.layers]} of {group.channels}"
        print(f"| {name} | {' | '.join(f'{each:.2%}' for each in row)} |", flush=True)
        rows.append(row)
    return rows


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Rank correlation of two series; equal values share the mean of their ranks."""
    ranks = [np.array([np.mean(np.flatnonzero(np.sort(x) == v)) for v in x]) for x in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


if __name__ == "__main__":
    main()
