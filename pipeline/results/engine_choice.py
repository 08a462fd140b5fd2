"""What build chose, and how far that is from the trained model on the validation images."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.results import accuracy_claims, comparability, units
from pipeline.results.model import Report
from stages.engines.registry import EngineName
from stages.results.engines import EngineChoice
from stages.tasks.registry import metric


def budget(choice: EngineChoice) -> str:
    """What an engine was allowed: "0.5 points (or one image) below the trained model"."""
    if choice.max_accuracy_drop is None:
        return "any loss"
    against = "the trained model" if choice.trained_top1 is not None else "the float32 engine"
    one = " (or one image)" if _is_finer_than_an_image(choice) else ""
    of = "" if choice.metric is None else f" of {metric(choice.metric).words}"
    return f"{choice.max_accuracy_drop:g} points{of}{one} below {against}"


def sentence(choice: EngineChoice) -> str:
    """The chosen engine of every batch size, with its change where the trained model's is known."""
    parts = []
    for batch, each in choice.chosen.items():
        facts = [f"batch {batch}"]
        change = change_points(choice, each.engine)
        facts += [] if change is None else [f"{units.points(change)} points"]
        facts += _interval(choice, each.engine)
        facts += [] if each.within_budget else ["over the budget"]
        parts.append(f"{EngineName.parse(each.engine).words} ({', '.join(facts)})")
    images = f"{units.count(choice.validation_samples)} validation images"
    return f"Allowed {budget(choice)} on {images}, build chose: {', '.join(parts)}."


def change_points(choice: EngineChoice, engine: str) -> float | None:
    """Points that an engine won (+) or lost (-) against the trained model; None where unknown."""
    top1 = next((each.top1 for each in choice.table if each.engine == engine), None)
    if top1 is None or choice.trained_top1 is None:
        return None
    return 100 * (top1 - choice.trained_top1)


def _interval(choice: EngineChoice, engine: str) -> Iterator[str]:
    diff = next((each for each in choice.differences if each.engine == engine), None)
    change = change_points(choice, engine)
    if diff and change is not None and choice.trained_top1 is not None:
        if choice.metric is None:
            samples = choice.validation_samples or 0
            found = accuracy_claims.paired(choice.trained_top1, samples, diff)
        else:
            found = accuracy_claims.measured(change, diff)
        if found:
            yield accuracy_claims.in_words(found)


def shortfall(report: Report) -> Iterator[str]:
    """A warning where the engine of the run is further from the trained model than allowed."""
    choice, batch = comparability.current_choice(report), comparability.compared_batch(report)
    chosen = choice.chosen.get(batch) if choice and batch else None
    if choice is None or chosen is None or chosen.within_budget:
        return
    change = change_points(choice, chosen.engine)
    if change is not None:
        words = EngineName.parse(chosen.engine).words
        yield (
            f"No engine is within the budget of {budget(choice)}: on "
            f"{units.count(choice.validation_samples)} validation images {words} is "
            f"{abs(change):.2f} points below."
        )


def _is_finer_than_an_image(choice: EngineChoice) -> bool:
    points, samples = choice.max_accuracy_drop, choice.validation_samples
    is_counted = choice.metric is None  # What an image is worth of another metric is not fixed.
    return is_counted and points is not None and samples is not None and points / 100 * samples < 1
