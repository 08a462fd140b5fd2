"""What a search found, in a few sentences that claim nothing that was not measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pipeline.results import units
from pipeline.search import results
from pipeline.search.model import Trial
from pipeline.search.results import Found
from pipeline.search.searching import Searched
from stages.settings.searching import Objective

WORDS: dict[Objective, str] = {
    "p50": "latency",
    "size": "size",
    "memory": "memory",
    "energy": "energy",
}


def word_of(objective: Objective, found: Found) -> str:
    """ "latency"; of the accuracy what decides in the task, as "ROC AUC"."""
    return found.quality.words if objective == "accuracy" else WORDS[objective]


def verdict(searched: Searched) -> list[str]:
    """Counts, the front, the controls, how far to trust the accuracies, rungs, and knobs."""
    found = searched.found
    return [
        _counts(found),
        *_shortfall(searched),
        *_front(found),
        *_alike(found),
        *_controls(found),
        *_unpruned(found),
        *_bias(found),
        *_tested(found),
        *_rungs(found),
        *_knobs(found),
    ]


def _counts(found: Found) -> str:
    count = {state: 0 for state in ("complete", "stopped", "failed", "running")}
    for trial in found.trials:
        count[trial.state] += 1
    words = {
        "complete": "trained in full",
        "stopped": "stopped early",
        "failed": "failed",
        "running": "not finished",
    }
    parts = [f"{count[state]} {text}" for state, text in words.items() if count[state]]
    total = len(found.trials)
    tried = " Every combination of the knobs has been tried." if found.is_exhausted else ""
    return f"{total} {'trial' if total == 1 else 'trials'}: {', '.join(parts) or 'none'}.{tried}"


def _shortfall(searched: Searched) -> Iterator[str]:
    if searched.found.trials and (why := results.shortfall(searched.found, searched.settings)):
        yield f"{why[0].upper()}{why[1:]}."


def _front(found: Found) -> Iterator[str]:
    best = [trial for number in found.front if (trial := found.trial(number))]
    if not best:
        return
    wanted = units.listed([word_of(each, found) for each in found.objectives])
    count = "one trial" if len(best) == 1 else f"{len(best)} trials"
    ends = dict.fromkeys(trial.number for trial in (best[0], best[-1]))
    described = "; ".join(_described(trial, found) for trial in best if trial.number in ends)
    yield f"Pareto front of {wanted}: {count}. {described}."


def _alike(found: Found) -> Iterator[str]:
    """Which of the front are as fast as each other, for all that was measured."""
    groups: list[list[Trial]] = []
    for trial in (each for number in found.front if (each := found.trial(number))):
        before = groups[-1][-1].last if groups else None
        if before and trial.last and trial.last.latency.ratio_low <= before.latency.ratio_high:
            groups[-1].append(trial)
        else:
            groups.append([trial])
    for group in groups:
        if len(group) > 1:
            numbers = units.listed([str(each.number) for each in group])
            yield (
                f"Trials {numbers} cannot be told apart by latency: the 95 % interval of each "
                "meets that of the next."
            )


def _described(trial: Trial, found: Found) -> str:
    result, yardstick = trial.last, found.yardstick
    if result is None or yardstick is None:
        return f"trial {trial.number}"
    change = f"{units.points(-yardstick.loss_points(result))} points"
    if found.trained_networks > 1:
        change += f" against {found.trained_words}"
    more = ""
    if "memory" in found.objectives:
        more += f"{units.mebibytes(result.memory_mib)} MiB of memory, "
    if "energy" in found.objectives:
        more += f"{units.millijoules(result.latency.millijoules)} mJ per call, "
    return (
        f"trial {trial.number}: {units.duration(yardstick.p50_ms(result))} "
        f"({result.latency.ratio:.3f} of the reference) in {result.engine}, {more}"
        f"{_metric(found)}{units.percent(result.top1)} on validation images ({change})"
    )


def _metric(found: Found) -> str:
    """ "ROC AUC " before a number; that of classes needs no name."""
    return "" if found.quality.is_counted else f"{found.quality.words} "


def _controls(found: Found) -> Iterator[str]:
    """Whether the search found anything better than what was there before it."""
    for number, control in found.control.items():
        trial = found.trial(number)
        name = f"Trial {number}, {control.in_words}"
        if trial and trial.state != "complete":
            yield f"{name}: {trial.state}."
            continue
        if trial and (same := found.is_same_as(trial)):
            yield f"{name}, is the same engine as trial {same.number}, which is on the front."
            continue
        yield f"{name}, {'is' if number in found.front else 'is not'} on the front."


def _unpruned(found: Found) -> Iterator[str]:
    """Trials whose ratio is too small for their rounding."""
    numbers = [str(trial.number) for trial in found.trials if trial.unpruned]
    if numbers:
        are = "Trial {} is" if len(numbers) == 1 else "Trials {} are"
        yield (
            f"{are.format(units.listed(numbers))} the unpruned network: so small a ratio removes "
            "no channel."
        )


def _bias(found: Found) -> Iterator[str]:
    """The best of many is in part the luckiest."""
    best = [trial for number in found.front if (trial := found.trial(number))]
    compared = len(found.complete)
    if not best or compared < 2:
        return
    trial = max(best, key=lambda each: each.last.top1 if each.last else -math.inf)
    span = results.best_of(trial, found)
    samples = trial.last.samples if trial.last else 0
    chosen = f"Chosen among {compared} trials on the same {samples:,} validation images, their"
    if span is None:
        yield (
            f"{chosen} {found.quality.words} is too high by chance; by how much is not known, for "
            "no interval follows from a count of images."
        )
        return
    yield (
        f"{chosen} accuracies are too high by chance: {units.percent(span.low)} to "
        f"{units.percent(span.high)} for trial {trial.number}, the most accurate of the front "
        f"(95 % interval of the best of {compared}, Bonferroni)."
    )


def _tested(found: Found) -> Iterator[str]:
    tested = [trial for trial in found.trials if trial.tested]
    if tested:
        samples = tested[0].tested.samples if tested[0].tested else 0
        by = "" if found.quality.is_counted else f", by {found.quality.words}"
        said = _beside_trained(tested, found)
        yield f"On {samples:,} test images, which chose nothing{by}: {said}."


def _beside_trained(tested: Sequence[Trial], found: Found) -> str:
    """What test images said of trials, and of the networks that these were made of."""
    marks = [(each, each.tested) for each in tested if each.tested]
    parts = [f"trial {trial.number} {units.percent(mark.top1)}" for trial, mark in marks]
    trained = [units.percent(mark.trained_top1) for _, mark in marks]
    if len({trial.last.trained for trial, _ in marks if trial.last}) > 1:
        pairs = zip(parts, trained, strict=True)
        return ", ".join(f"{part} (its trained network {own})" for part, own in pairs)
    several = "its" if len(parts) == 1 else "their"
    whose = "the" if found.trained_networks < 2 else several
    return f"{', '.join(parts)}; {whose} trained network {trained[0]}"


def _rungs(found: Found) -> Iterator[str]:
    for pair in found.correlations:
        if pair.upper == found.top and pair.correlation is not None:
            yield (
                f"Rank correlation of the {found.quality.words} at rung {pair.lower} "
                f"({_share(pair.lower, found)}) with that after the whole fine-tune: "
                f"{pair.correlation:.2f} (Spearman, {pair.trials} trials that did both)."
            )


def _share(rung: int, found: Found) -> str:
    if share := found.rungs[rung]:
        return f"{units.percent(share)} of the epochs"
    measured = (each.at(rung) for each in found.trials)
    has_target = any(each.widths for each in measured if each)
    return "at most one epoch, to meet a target" if has_target else "without training"


def _knobs(found: Found) -> Iterator[str]:
    if found.idle:
        yield f"Not varied, for no epoch reads it: {', '.join(found.idle)}."
    if not found.importances:
        return
    parts = []
    for objective, shares in found.importances.items():
        name, share = max(shares.items(), key=lambda pair: pair[1])
        parts.append(f"{word_of(objective, found)} by {name} ({100 * share:.0f} %)")
    yield (
        f"What varied was explained best in {units.listed(parts)} "
        f"(fANOVA, {len(found.complete)} trials trained in full)."
    )
