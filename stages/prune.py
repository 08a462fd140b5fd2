"""Stage `prune`: a trained model in, one that is smaller or sparser out, repaired by a fine-tune.

The result is an ordinary Keras model with the same inputs and outputs: no masks, no layers of ours.
The ways to prune are in stages/pruning: whole channels (structured.py), as many of each group, and
as many blocks (depth.py), as a latency target measured on an engine requires (guided.py), or single
weights (sparse.py).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import keras

from stages import progress
from stages.artifacts.signature import Signature
from stages.datasets.loading import load_dataset
from stages.datasets.several import wanted_by
from stages.errors import ModelError
from stages.keras_graph.fold import flatten
from stages.keras_graph.walk import functional
from stages.models import files, own_source
from stages.numerics.sparsity import polynomial
from stages.pruning import consistency, guided, sparse, structured
from stages.pruning.across import widths_across
from stages.pruning.context import PruneContext
from stages.pruning.depth import Removable, removable
from stages.pruning.guided import Waypoint
from stages.pruning.named import names_of, widths_named
from stages.pruning.rounds import FinishedRound, ResumeStore, Round
from stages.pruning.sensitivity import Part, probed_images, sensitivity
from stages.pruning.stopwatch import Stopwatch
from stages.pruning.structured import Layers, Prunable, Widths
from stages.pruning.ways import way_of
from stages.results.pruning import (
    PathPoint,
    PruneDetails,
    PruneResult,
    PruningLatency,
    PruningRound,
    SensitivityLevel,
    SparseLayer,
)
from stages.settings import Prune, PruneStage
from stages.training import evaluate
from stages.training.baseline import refuse_chance
from stages.training.fit import prepare

MODEL_FILE = "model.keras"


@dataclass(frozen=True)
class Pruned:
    """The file of the result, how it came about, and how wide it is to be."""

    file: Path
    details: PruneDetails
    widths: Widths = field(default_factory=dict)
    notes: tuple[str, ...] = ()


VERDICTS = {
    "2:4": "only TensorRT with sparse tensor cores can run it faster; CPU engines never do",
    "magnitude": "the file is smaller once it is compressed; no dense engine runs it any faster",
}


def run(
    settings: PruneStage,
    inputs: Mapping[str, Path],
    out: Path,
    resume: Path | None = None,
    logs: Path | None = None,
) -> PruneResult:
    """Prune as `settings.prune` says, fine-tune, and write the model and its signature.

    Ratio 0 without widths or a target copies the trained model byte for byte, whatever the method,
    and so is a model copied that has no channels which can be removed; the second says so. Finished
    work is kept in the folder `resume`, if given, and not repeated; learning curves are written to
    `logs`. Returns the measurements on the test split. Raises ModelError for a trained model at
    chance, where a target cannot be met, and for a result that is not what was decided; EngineError
    where the target's engine is not available.
    """
    prepare(settings.prune)
    own_source.make_known(settings.model)
    source = inputs["train"]
    signature = Signature.read(source)
    dataset = load_dataset(settings.data, *wanted_by(signature))
    trained = files.load(source / MODEL_FILE)
    functional(trained)  # first: a model without a graph has no accuracy to speak of either
    refuse_chance(trained, dataset.validation, signature)
    with tempfile.TemporaryDirectory() as temporary:
        context = PruneContext(
            settings.prune,
            settings.data,
            dataset,
            signature,
            source / MODEL_FILE,
            trained,
            ResumeStore(resume or Path(temporary)),
            logs,
            settings.build,
            settings.tensorrt,
        )
        pruned = _prune(context)
        model = files.load(pruned.file)
        details = _compared(pruned, trained, model)
        shutil.copyfile(pruned.file, out / MODEL_FILE)
    signature = evaluate.with_thresholds(signature, model, dataset.validation)
    signature.write(out)
    measured = evaluate.measure(model, dataset.test, signature)
    return PruneResult(
        notes=pruned.notes,
        model=measured.model,
        accuracy=measured.accuracy,
        latency=measured.latency,
        details=details.model_copy(update={"classification": measured.classification}),
    )


def _compared(pruned: Pruned, trained: keras.Model, model: keras.Model) -> PruneDetails:
    """How it came about, and what the result lacks of the trained network.

    Raises ModelError where that is not what was decided.
    """
    before, after = flatten(trained), flatten(model)
    details = pruned.details.model_copy(
        update={
            "groups": structured.compare_groups(before, after),
            "removed_blocks": tuple(structured.removed(pruned.widths)),
            "parameters_before": int(trained.count_params()),
            "parameters_after": int(model.count_params()),
        }
    )
    consistency.check(details, pruned.widths, structured.lost_layers(before, after))
    return details


def _prune(context: PruneContext) -> Pruned:
    way = way_of(context.settings)
    if way == "unpruned":
        # The same file, not a copy through Keras: identical bytes leave everything after it fresh.
        return Pruned(context.source, PruneDetails(method=context.settings.method))
    by = {"widths": _by_widths, "target": _to_target, "ratio": _by_ratio}
    return by.get(way, _to_zeros)(context)


def _by_widths(context: PruneContext) -> Pruned:
    """The channels and blocks that the settings name."""
    settings, flat = context.settings, flatten(context.trained)
    widths = widths_named(flat, settings.widths, settings.exclude_layers)
    file, finished = context.run_rounds(_rounds(context, [widths]))
    return Pruned(file, _details(settings, finished), widths)


def _by_ratio(context: PruneContext) -> Pruned:
    """The same share of every group, or what of all groups costs as much and matters least; with
    rounds, each takes the same share of what is left.

    Nobody asked for a smaller network by leaving the ratio as it is: one that cannot be pruned
    goes on.
    """
    settings, flat = context.settings, flatten(context.trained)
    groups = structured.prunable(
        flat, settings.exclude_layers, settings.channel_multiple, settings.layers
    )
    if why := structured.obstacle(flat, groups):
        note = f"{flat.name!r} goes on unpruned, {why}"
        return Pruned(context.source, PruneDetails(method=settings.method), notes=_told(note))
    last: Widths = structured.widths_for(groups, settings.ratio)
    numbers = range(1, settings.rounds)
    ratios = [1 - (1 - settings.ratio) ** (number / settings.rounds) for number in numbers]
    stops: list[Widths] = [{g.layers: g.narrowed(ratio) for g in groups} for ratio in ratios]
    if settings.scope == "global":
        *stops, last = _across(context, flat, groups, [*ratios, settings.ratio])
    file, finished = context.run_rounds(_rounds(context, [*stops, last]))
    return Pruned(file, _details(settings, finished), last, _left_out(context))


def _across(
    context: PruneContext,
    flat: keras.Model,
    groups: Sequence[Prunable],
    ratios: Sequence[float],
) -> list[Widths]:
    """The widths that the whole network is to have, decided now or before a kill."""
    saved = context.store.read("widths", list[list[tuple[Layers, int]]])
    if saved is not None:
        return [dict(each) for each in saved]
    found = widths_across(flat, groups, ratios, context.scores(flat))
    context.store.write("widths", [list(each.items()) for each in found])
    return found


def _rounds(context: PruneContext, stops: Sequence[Widths]) -> list[Round]:
    """One round per stop; those that rounding makes equal to the next are one."""

    def to(widths: Widths, epochs: int) -> Round:
        return Round(lambda model: context.narrower(flatten(model))(widths), epochs)

    settings = context.settings
    *before, last = [
        stop for stop, after in zip(stops, [*stops[1:], None], strict=True) if stop != after
    ]
    # With a budget any round may turn out to be the last.
    has_budget = settings.max_accuracy_drop is not None
    between = settings.epochs if has_budget or not before else settings.round_epochs
    return [*(to(stop, between) for stop in before), to(last, settings.epochs)]


def _to_target(context: PruneContext) -> Pruned:
    """As far as the measured latency requires and the validation accuracy allows."""
    settings, flat = context.settings, flatten(context.trained)
    groups = structured.prunable(flat, settings.exclude_layers, settings.channel_multiple)
    blocks = removable(flat, settings.exclude_layers) if settings.depth else []
    if (why := structured.obstacle(flat, groups)) and not blocks:
        fix = f"{structured.WITHOUT_TARGET}: the network then goes on unpruned"
        raise ModelError(f"{flat.name!r} cannot be pruned to a target, {why}", fix)
    parts: list[Part] = [*blocks, *groups]
    with context.stopwatch(flat) as stopwatch:
        levels, path = _analyse(context, flat, parts, stopwatch)
        stops = guided.milestones(path, guided.goals(path, settings))
        before = context.validation_score(context.trained)

        def points_lost(finished: FinishedRound) -> float:
            return 100 * (before - finished.validation_top1)

        budget = float("inf") if settings.max_accuracy_drop is None else settings.max_accuracy_drop
        rounds = _rounds(context, [stop.widths for stop in stops])
        # One of few validation images may be exactly the budget; 1e-9 absorbs the rounding.
        file, finished = context.run_rounds(rounds, lambda each: points_lost(each) > budget + 1e-9)
        kept = sum(each.is_kept for each in finished)
        if kept < len(stops) and (kept == 0 or settings.target_latency_ratio is not None):
            lost, words = points_lost(finished[-1]), context.signature.words
            guided.refuse_budget(stops[kept], budget, lost, settings.timed, words)
        reached = stops[kept - 1]
        latency = _latency(settings, reached, file, stopwatch)
    missed = _told(guided.missed(latency, settings.timed, settings.target_latency_ratio))
    details = _details(settings, finished).model_copy(
        update={
            "latency": latency,
            "sensitivity": tuple(levels),
            "probed_images": _probed(context, parts),
            "path": tuple(point.to_result() for point in path),
            "widths": names_of(flat, reached.widths, settings.exclude_layers),
            "validation_top1_before": before,
        }
    )
    return Pruned(file, details, reached.widths, missed + _left_out(context))


def _left_out(context: PruneContext) -> tuple[str, ...]:
    """The note on layers that are as wide as they were, if there are any."""
    return _told(structured.left_out(flatten(context.trained), context.settings.exclude_layers))


def _told(note: str | None) -> tuple[str, ...]:
    if note is None:
        return ()
    progress.warn(note)
    return (note,)


def _analyse(
    context: PruneContext,
    flat: keras.Model,
    parts: Sequence[Part],
    stopwatch: Stopwatch,
) -> tuple[list[SensitivityLevel], list[Waypoint]]:
    """The sensitivity of groups and blocks and the way down, measured now or before a kill."""
    narrow, store = context.narrower(flat), context.store
    levels = store.read("levels", list[SensitivityLevel]) or []
    score = partial(context.candidate_score, images=_probed(context, parts))
    for more in sensitivity(parts, narrow, score, stopwatch, [*levels]):
        levels += more
        store.write("levels", levels)
    if saved := store.read("path", list[PathPoint]):
        return levels, [Waypoint.from_result(point) for point in saved]
    goal = context.settings.target_latency_ratio or 0.0
    whole = {part.layers: part.whole for part in parts if isinstance(part, Removable)}
    smallest_drop = 0.5 / len(context.dataset.validation)
    path = guided.descend(levels, narrow, stopwatch, goal, smallest_drop, whole)
    guided.check_reached(path, goal or 1.0, context.settings.timed)
    if goal:
        path = guided.give_back(levels, narrow, stopwatch, path, goal)
        guided.check_narrowed(path[-1], levels, goal, context.settings.timed)
    store.write("path", [point.to_result() for point in path])
    return levels, path


def _probed(context: PruneContext, parts: Sequence[Part]) -> int:
    """Training images of the short fine-tune of a candidate; none where there will be no fine-tune
    to foretell."""
    settings = context.settings
    if settings.epochs == 0:
        return 0
    step = settings.batch_size * settings.accumulate_batches
    return probed_images(parts, len(context.dataset.train), step)


def _latency(settings: Prune, stop: Waypoint, file: Path, stopwatch: Stopwatch) -> PruningLatency:
    """Predicted against measured."""
    (measured,) = stopwatch.ratios([files.load(file)])
    return PruningLatency(
        target=settings.target,
        batch_size=settings.target_batch_size,
        trained_ms=stopwatch.reference_ms,
        predicted_ratio=stop.predicted_ratio,
        ratio_when_chosen=stop.latency_ratio,
        measured_ratio=measured,
    )


def _to_zeros(context: PruneContext) -> Pruned:
    """Zeros in place of weights, which the fine-tunes here and after quantization keep."""
    settings = context.settings
    exclude = settings.exclude_layers
    progress.report(f"prune.method {settings.method}: {VERDICTS[settings.method]}")
    layers: tuple[SparseLayer, ...] = ()
    if settings.method == "2:4":
        layers = sparse.prospects(flatten(context.trained), exclude)
        if not any(layer.is_wide_enough for layer in layers):
            progress.report(sparse.NONE_IS_WIDE)
        rounds = [Round(lambda model: sparse.two_of_four(flatten(model), exclude), settings.epochs)]
    else:
        rounds = [_magnitude_round(settings, number) for number in range(1, settings.rounds + 1)]
    file, finished = context.run_rounds(rounds)
    details = _details(settings, finished).model_copy(
        update={
            "verdict": VERDICTS[settings.method],
            "layers": layers,
            "size": sparse.sizes(context.trained, files.load(file)),
        }
    )
    return Pruned(file, details)


def _magnitude_round(settings: Prune, number: int) -> Round:
    share = polynomial(settings.ratio, number / settings.rounds)
    return Round(
        lambda model: sparse.smallest(
            flatten(model), share, settings.exclude_layers, settings.block, settings.scope
        ),
        settings.epochs if number == settings.rounds else settings.round_epochs,
    )


def _details(settings: Prune, finished: Sequence[FinishedRound]) -> PruneDetails:
    """What all ways record: the rounds, and the epochs of the kept ones in one history."""
    kept = [each for each in finished if each.is_kept]
    epochs = [
        epoch.model_copy(update={"round": number})
        for number, each in enumerate(kept, start=1)
        for epoch in each.training.history
    ]
    return PruneDetails(
        method=settings.method,
        accuracy_before_finetune=kept[-1].accuracy_before_finetune,
        rounds=tuple(PruningRound(**dict(each)) for each in finished),
        history=tuple(
            epoch.model_copy(update={"epoch": number})
            for number, epoch in enumerate(epochs, start=1)
        ),
        devices=kept[-1].training.devices,
        gpus=kept[-1].training.gpus,
        precision=kept[-1].training.precision,
    )
