"""Stage `prune`: a trained model in, one that is smaller or sparser out, repaired by a fine-tune.

The result is an ordinary Keras model with the same inputs and outputs: no masks, no layers of ours.
The ways to prune are in stages/pruning: whole channels (structured.py), as many of each group as a
latency measured on an engine asks for (guided.py), or single weights (sparse.py).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from stages import datasets, progress
from stages.artifacts.signature import Signature
from stages.keras_graph.fold import flatten
from stages.models import files
from stages.numerics.sparsity import polynomial
from stages.pruning import guided, sparse, structured
from stages.pruning.context import Job
from stages.pruning.guided import Level, Point
from stages.pruning.latency import Stopwatch
from stages.pruning.rounds import Notes, Progress, Round
from stages.pruning.structured import Widths
from stages.settings import PruneStage
from stages.training import evaluate
from stages.training.fit import prepare

MODEL_FILE = "model.keras"

VERDICTS = {
    "2:4": "only TensorRT with sparse tensor cores can run it faster; CPU engines never do",
    "magnitude": "the file is smaller once it is compressed; no dense engine runs it any faster",
}

Details = dict[str, Any]


def run(
    settings: PruneStage,
    inputs: Mapping[str, Path],
    out: Path,
    resume: Path | None = None,
    logs: Path | None = None,
) -> dict[str, Any]:
    """Prune as `settings.prune` says, fine-tune, and write the model and its signature.

    Ratio 0 without a target copies the trained model byte for byte. What is finished is kept in
    the folder `resume`, where one is given, and not done again; learning curves are written to
    `logs`. Returns the measurements on the
    test split. Raises ModelError for a model in which nothing can be removed and where a target
    cannot be met, EngineError where the engine of a target is not to be had.
    """
    prepare(settings.prune)
    source = inputs["train"]
    signature = Signature.read(source)
    dataset = datasets.load(settings.data)
    trained = files.load(source / MODEL_FILE)
    with tempfile.TemporaryDirectory() as temporary:
        done = Progress(resume or Path(temporary))
        job = Job(settings, dataset, signature, source / MODEL_FILE, trained, done, logs)
        file, details = _prune(job)
        shutil.copyfile(file, out / MODEL_FILE)
    signature.write(out)
    model = files.load(out / MODEL_FILE)
    details |= {
        "groups": structured.table(flatten(trained), flatten(model)),
        "parameters_before": int(trained.count_params()),
        "parameters_after": int(model.count_params()),
    }
    measured = evaluate.measure(model, dataset.test, signature)
    measured["details"] |= details
    return measured


def _prune(job: Job) -> tuple[Path, Details]:
    """The file of the result, and what was done, for the record."""
    knobs = job.knobs
    start: Details = {"method": knobs.method, "accuracy_before_finetune": None, "rounds": []}
    start |= {"history": [], "devices": [], "gpus": []}
    if knobs.target_latency_ratio is not None or knobs.max_accuracy_drop is not None:
        file, details = _to_target(job)
    elif knobs.ratio == 0:
        file, details = job.source, {}
    elif knobs.method == "channels":
        file, details = _by_ratio(job)
    else:
        file, details = _to_zeros(job)
    return file, {**start, **details}


def _by_ratio(job: Job) -> tuple[Path, Details]:
    """The same share of every group; with rounds, each takes the same share of what is left."""
    knobs, flat = job.knobs, flatten(job.trained)
    found = structured.prunable(flat, knobs.keep, knobs.round_to)
    last = structured.widths_for(found, knobs.ratio)
    ratios = [1 - (1 - knobs.ratio) ** (number / knobs.rounds) for number in range(1, knobs.rounds)]
    stops: list[Widths] = [{g.layers: g.narrowed(ratio) for g in found} for ratio in ratios]
    return _recorded(*job.run_rounds(_rounds(job, [*stops, last])))


def _rounds(job: Job, stops: Sequence[Widths]) -> list[Round]:
    """One round per stop; those that rounding makes equal to the next are one."""

    def to(widths: Widths, epochs: int) -> Round:
        return Round(lambda model: job.narrower(flatten(model))(widths), epochs)

    knobs = job.knobs
    *before, last = [
        stop for stop, after in zip(stops, [*stops[1:], None], strict=True) if stop != after
    ]
    # With a budget any round may turn out to be the last.
    between = knobs.epochs if knobs.max_accuracy_drop is not None else knobs.round_epochs
    return [*(to(stop, between) for stop in before), to(last, knobs.epochs)]


def _to_target(job: Job) -> tuple[Path, Details]:
    """As the measured latency and the accuracy on the validation images allow."""
    knobs, flat = job.knobs, flatten(job.trained)
    found = structured.prunable(flat, knobs.keep, knobs.round_to)
    with job.stopwatch(flat) as stopwatch:
        levels, path = _analyse(job, flat, found, stopwatch)
        stops = guided.milestones(path, guided.goals(path, knobs))
        before = job.validation_top1(job.trained)

        def drop(notes: Notes) -> float:
            return 100 * (before - float(notes["validation_top1"]))

        budget = float("inf") if knobs.max_accuracy_drop is None else knobs.max_accuracy_drop
        rounds = _rounds(job, [stop.widths for stop in stops])
        file, notes = job.run_rounds(rounds, lambda notes: drop(notes) > budget + 1e-9)
        kept = sum(each["is_kept"] for each in notes)
        if kept < len(stops) and (kept == 0 or knobs.target_latency_ratio is not None):
            guided.refuse_budget(stops[kept], budget, drop(notes[-1]), knobs.target)
        latency = _latency(knobs.target, stops[kept - 1], file, stopwatch)
    details = {
        "latency": latency,
        "sensitivity": guided.to_rows(levels, latency["trained_ms"]),
        "path": guided.path_to_json(path),
        "validation_top1_before": before,
    }
    file, recorded = _recorded(file, notes)
    return file, {**details, **recorded}


def _analyse(
    job: Job, flat: keras.Model, found: Sequence[structured.Prunable], stopwatch: Stopwatch
) -> tuple[list[Level], list[Point]]:
    """The table of groups and the way down, measured now or before a kill."""
    narrow, done = job.narrower(flat), job.done
    levels = guided.levels_from_json(done.read("levels"))
    for more in guided.sensitivity(found, narrow, job.validation_top1, stopwatch, list(levels)):
        levels += more
        done.write("levels", guided.levels_to_json(levels))
    guided.check_some(levels)
    saved = done.read("path")
    if saved is not None:
        return levels, guided.path_from_json(saved)
    goal = job.knobs.target_latency_ratio or 0.0
    path = guided.descend(levels, narrow, stopwatch, goal, 0.5 / len(job.dataset.validation))
    guided.check_reached(path, goal or 1.0, job.knobs.target)
    if goal:
        path = guided.give_back(levels, narrow, stopwatch, path, goal)
    done.write("path", guided.path_to_json(path))
    return levels, path


def _latency(target: str, stop: Point, file: Path, stopwatch: Stopwatch) -> Details:
    """Predicted against measured."""
    (measured,) = stopwatch.ratios([files.load(file)])
    return {
        "target": target,
        "trained_ms": stopwatch.reference_ms,
        "predicted_ratio": stop.predicted_ratio,
        "ratio_when_chosen": stop.latency_ratio,
        "measured_ratio": measured,
    }


def _to_zeros(job: Job) -> tuple[Path, Details]:
    """Zeros in place of weights, which the fine-tunes here and after quantization keep."""
    knobs = job.knobs
    progress.report(f"prune.method {knobs.method}: {VERDICTS[knobs.method]}")
    details: Details = {"verdict": VERDICTS[knobs.method]}
    if knobs.method == "2:4":
        details["layers"] = sparse.prospects(flatten(job.trained), knobs.keep)
        if not any(row["is_wide_enough"] for row in details["layers"]):
            progress.report(sparse.NONE_IS_WIDE)
        rounds = [Round(lambda model: sparse.two_of_four(flatten(model), knobs.keep), knobs.epochs)]
    else:
        rounds = [_magnitude_round(job, number) for number in range(1, knobs.rounds + 1)]
    file, recorded = _recorded(*job.run_rounds(rounds))
    sizes = sparse.sizes(job.trained, files.load(file))
    return file, {**details, **recorded, "size": sizes}


def _magnitude_round(job: Job, number: int) -> Round:
    knobs = job.knobs
    share = polynomial(knobs.ratio, number / knobs.rounds)
    epochs = knobs.epochs if number == knobs.rounds else knobs.round_epochs
    return Round(
        lambda model: sparse.smallest(flatten(model), share, knobs.keep, knobs.block, knobs.scope),
        epochs,
    )


def _recorded(file: Path, notes: Sequence[Notes]) -> tuple[Path, Details]:
    """The file, and the rounds for the record, with the epochs of the kept ones in one row."""
    kept = [each for each in notes if each["is_kept"]]
    rows = [
        {**row, "round": number}
        for number, each in enumerate(kept, start=1)
        for row in each["history"]
    ]
    apart = ("history", "devices", "gpus")
    return file, {
        "accuracy_before_finetune": kept[-1]["accuracy_before_finetune"],
        "rounds": [{key: each[key] for key in each if key not in apart} for each in notes],
        "history": [{**row, "epoch": epoch} for epoch, row in enumerate(rows, start=1)],
        "devices": kept[-1]["devices"],
        "gpus": kept[-1]["gpus"],
    }
