"""What may be said of an accuracy beside the trained model's: how certain it is, who trained more.

A fine-tune trains on. Where the engine's model had more epochs than the trained one, more right
answers may be those of the epochs, and only a loss says something about pruning and rounding.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.results import comparability, units
from pipeline.results.model import EngineReport, Report
from stages.engines.registry import QUANTIZED, EngineName
from stages.numerics import proportions
from stages.numerics.proportions import Interval
from stages.results.base import Quality
from stages.results.engines import BenchmarkDetails, PredictionDiff
from stages.results.quantization import QuantizeDetails
from stages.results.training import TrainingDetails


def interval(report: Report, accuracy: Quality, engine: EngineName) -> Interval | None:
    """Points won (+) or lost (-) against the trained model, with the 95 % interval.

    The interval is for answers to the same images (proportions.paired_change), from those that only
    one of the two got right; of another metric than accuracy it is the benchmark's own. None where
    the benchmark has not compared `engine` with the trained model, or where its count is not what
    separates `accuracy` from that of the trained model.
    """
    diff, trained = _differences(report).get(engine), comparability.trained_accuracy(report)
    change = comparability.change_points(accuracy, trained)
    if diff is None or change is None or trained.score is None or not trained.samples:
        return None
    if not trained.is_counted:
        return measured(change, diff)
    found = paired(trained.score, trained.samples, diff)
    is_same = round(change / 100 * trained.samples) == diff.won - diff.lost
    return found if is_same else None


def paired(trained_top1: float, samples: int, diff: PredictionDiff) -> Interval | None:
    """Points won (+) or lost (-) on the same images, with the 95 % interval.

    None for counts that cannot be of as many images.
    """
    both = round(trained_top1 * samples) - diff.lost
    neither = samples - both - diff.lost - diff.won
    if min(both, neither) < 0:
        return None
    found = proportions.paired_change(both, diff.lost, diff.won, neither)
    return Interval(100 * found.estimate, 100 * found.low, 100 * found.high)


def measured(change: float, diff: PredictionDiff) -> Interval | None:
    """A change in points with the interval that was measured with it, if it was."""
    if diff.change_low is None or diff.change_high is None:
        return None
    return Interval(change, 100 * diff.change_low, 100 * diff.change_high)


def _differences(report: Report) -> dict[EngineName, PredictionDiff]:
    """What the benchmark counted image by image, by engine."""
    details = report.details(BenchmarkDetails)
    if details is None or not report.is_current("benchmark"):
        return {}
    counted = (details.changed, *details.differences)
    return {EngineName.parse(each.engine): each for each in counted if each}


def in_words(found: Interval) -> str:
    """ "95 % interval -1.66 to +0.40"."""
    return f"95 % interval {units.points(found.low)} to {units.points(found.high)}"


def against_trained(report: Report, engine: EngineReport) -> Iterator[str]:
    """ "0.56 points less accurate (2 of 360 images; 95 % interval -1.66 to +0.40)".

    More accurate it is only called if its model had no more epochs than the trained one.
    """
    accuracy, change = engine.accuracy, comparability.engine_change(report, engine)
    if change is None or accuracy.samples is None:
        if accuracy.score is not None:
            yield f"{units.percent(accuracy.score)} {_noun(accuracy)}"
        return
    found = interval(report, accuracy, engine.name)
    if not accuracy.is_counted:
        yield _of_metric(report, engine, change, found)
        return
    images = round(abs(change) / 100 * accuracy.samples)
    count = f"{images:,} of {accuracy.samples:,} images"
    points = units.points(abs(change)).lstrip("+")
    if images == 0:
        words, count = "as accurate", ""
    elif change > 0 and not _is_controlled(report, engine):
        words, count = "no accuracy lost", ""
    else:
        words = f"{points} points {'more' if change > 0 else 'less'} accurate"
    notes = [note for note in (count, in_words(found) if found else "") if note]
    yield f"{words} ({'; '.join(notes)})" if notes else words


def _noun(accuracy: Quality) -> str:
    return "accurate" if accuracy.is_counted else accuracy.words


def _of_metric(report: Report, engine: EngineReport, change: float, found: Interval | None) -> str:
    """ "ROC AUC 0.12 points lower (95 % interval -0.30 to +0.06)"."""
    words = engine.accuracy.words
    if units.points(change) == "0.00":
        text = f"{words} as high"
    elif change > 0 and not _is_controlled(report, engine):
        text = f"no {words} lost"
    else:
        text = f"{words} {abs(change):.2f} points {'higher' if change > 0 else 'lower'}"
    return f"{text} ({in_words(found)})" if found else text


def epochs(report: Report) -> list[str]:
    """ "Epochs: trained 24, pruned 24 + 12, quantized 24 + 12 + 10."; nothing if all are 0."""
    counted = _epochs(report)
    if not any(counted.values()):
        return []
    names = {"train": "trained", "prune": "pruned", "quantize": "quantized"}
    parts = [
        f"{names[stage]} {' + '.join(str(each) for each in list(counted.values())[: place + 1])}"
        for place, stage in enumerate(counted)
    ]
    return [f"Epochs: {', '.join(parts)}."]


def _epochs(report: Report) -> dict[str, int]:
    """Epochs that are in the model of each stage, of all up to the first that is not known."""
    found: dict[str, int] = {}
    for name in ("train", "prune", "quantize"):
        stage = report.stage(name)
        if stage is None or stage.outdated or not isinstance(stage.details, TrainingDetails):
            break
        details = stage.details
        is_undone = isinstance(details, QuantizeDetails) and details.kept == "calibrated"
        found[name] = 0 if is_undone else len(details.history)
    return found


def _is_controlled(report: Report, engine: EngineReport) -> bool:
    """Whether the trained model had as many epochs as that of the engine."""
    counted = _epochs(report)
    fine_tunes = ("prune", "quantize") if engine.precision in QUANTIZED else ("prune",)
    return all(counted.get(stage) == 0 for stage in fine_tunes)
