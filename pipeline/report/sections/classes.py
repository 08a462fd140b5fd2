"""The classes one by one: how well the trained model and the chosen engine name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.tables import Grid
from pipeline.results import comparability, units
from pipeline.results.comparability import Report
from stages.engines.registry import EngineName

MOST_MISTAKES = 12

Counts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Classes:
    """What the benchmark knows; a confusion matrix is [truth][named], [] of very many classes."""

    names: tuple[str, ...]
    engine: str
    before: Sequence[Mapping[str, Any]]
    after: Sequence[Mapping[str, Any]]
    confusion_before: Counts
    confusion_after: Counts


def described(report: Report) -> Classes | None:
    """The classes of the trained model and of the chosen engine; None without a benchmark."""
    benchmark, found = (
        comparability.stage_named(report, "benchmark"),
        comparability.chosen_engine(report),
    )
    if benchmark is None or found is None:
        return None
    known = benchmark["details"].get("classification") or {}
    before = known.get("baseline")
    after = known.get(f"{found[0]['backend']}.{found[0]['precision']}")
    if not before or not after:
        return None
    return Classes(
        tuple(map(str, before["classes"])),
        EngineName(found[0]["backend"], found[0]["precision"]).label,
        before["per_class"],
        after["per_class"],
        before["confusion"],
        after["confusion"],
    )


def class_grid(report: Report) -> Grid:
    """Recall, precision and F1 of every class, before and after."""
    found = described(report)
    measures = ("recall", "precision", "f1")
    pairs = zip(found.names, found.before, found.after, strict=True) if found else ()
    rows = tuple(
        (
            name,
            units.count(before["support"]),
            *(units.percent(each[key]) for key in measures for each in (before, after)),
        )
        for name, before, after in pairs
    )
    headings = (f"{key}, {when}" for key in ("recall", "precision", "F1")
                for when in ("trained", "engine"))  # fmt: skip
    caption = f"The trained model and {found.engine if found else 'the engine'}, on the test images"
    return Grid("Classes", caption, ("class", "images", *headings), rows)


def changed_counts(report: Report) -> Mapping[str, Any]:
    """`engine`, `lost`, `won`, `other` of the benchmark; empty where nothing was compared."""
    benchmark = comparability.stage_named(report, "benchmark")
    if benchmark is None or benchmark["outdated"]:
        return {}
    return benchmark["details"].get("changed") or {}


def mistake_grid(report: Report) -> Grid:
    """The most frequent mistakes of the two models."""
    found = described(report)
    counted = sorted(_mistakes(found), key=lambda each: (-max(each[2:]), each)) if found else []
    rows = tuple(
        (truth, named, units.count(before), units.count(after))
        for truth, named, before, after in counted[:MOST_MISTAKES]
    )
    caption = "Which class was taken for which most often, in images"
    return Grid("Mistakes", caption, ("truth", "named", "trained", "engine of the run"), rows)


def _mistakes(found: Classes) -> Iterator[tuple[str, str, int, int]]:
    pairs = zip(found.confusion_before, found.confusion_after, strict=True)
    for truth, (before, after) in enumerate(pairs):
        for named, counts in enumerate(zip(before, after, strict=True)):
            if truth != named and any(counts):
                yield found.names[truth], found.names[named], *counts
