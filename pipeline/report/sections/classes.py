"""The classes one by one: how well the trained model and the chosen engine classify them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.report.svg import BAD, PANEL, QUIET, SMALL, STAND_IN, WIDTH, Chart, figure_of, panel
from pipeline.report.tables import Table
from pipeline.results import comparability, units
from pipeline.results.model import Report
from stages.results.engines import BenchmarkDetails
from stages.results.training import Classification
from stages.tasks.registry import TaskName, task_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pipeline.results.evidence import Evidence

MOST_MISTAKES = 12

NUMBERED = 12
"""With more classes the cells are too small for numbers."""
FEW = 5
"""Mistakes that are as red as can be, where none is more frequent: one image is no alarm."""
MOST_CLASSES = 40
"""With more classes the cells are too small to see; the table of mistakes has them."""

Confusion = Sequence[Sequence[int]]
"""Images or pixels as [truth][predicted], empty for very many classes."""
Counted = Literal["images", "pixels"]


@dataclass(frozen=True)
class Classes:
    """The classes, or labels, by the trained model and by the engine of the run."""

    names: tuple[str, ...]
    engine: str
    trained: Classification
    deployed: Classification
    task: TaskName

    @property
    def unit(self) -> Counted:
        """What is counted: every pixel of a mask has its class."""
        return "pixels" if self.task == "segmentation" else "images"


def described(report: Report) -> Classes | None:
    """The classes of the trained model and of the chosen engine; None without a benchmark."""
    details, chosen = report.details(BenchmarkDetails), comparability.chosen_engine(report)
    if details is None or chosen is None:
        return None
    engine, _ = chosen
    trained = details.classification.get("baseline")
    deployed = details.classification.get(str(engine.name))
    if trained is None or deployed is None:
        return None
    # A metric of the user's stands beside those of the task.
    accuracy = engine.accuracy
    task = task_of({accuracy.metric or "", *(accuracy.measures or {})})
    return Classes(trained.classes, engine.name.label, trained, deployed, task)


def tables(report: Report) -> Iterator[Table]:
    """Every class, and the most frequent mistakes."""
    yield class_table(report)
    yield mistake_table(report)


def class_table(report: Report) -> Table:
    """Recall, precision and F1 of every class, before and after."""
    found = described(report)
    rows = []
    if found:
        pairs = zip(found.trained.per_class, found.deployed.per_class, strict=True)
        for name, (before, after) in zip(found.names, pairs, strict=True):
            scores = (
                before.recall, after.recall, before.precision, after.precision, before.f1, after.f1,
            )  # fmt: skip
            rows.append((name, units.count(before.support), *map(units.percent, scores)))
    is_label = found is not None and found.task == "multilabel"
    headings = (
        f"{score}, {when}"
        for score in ("recall", "precision", "F1")
        for when in ("trained", "engine")
    )
    return Table(
        "Labels" if is_label else "Classes",
        f"The trained model and {found.engine if found else 'the engine'}, on the test images",
        ("label" if is_label else "class", found.unit if found else "images", *headings),
        tuple(rows),
        folded="always",
    )


def mistake_table(report: Report) -> Table:
    """The most frequent mistakes of the two models."""
    found = described(report)
    counted = sorted(_mistakes(found), key=lambda each: (-max(each[2:]), each)) if found else []
    return Table(
        "Mistakes",
        f"Which class was taken for which most often, in {found.unit if found else 'images'}",
        ("truth", "predicted", "trained", "engine of the run"),
        tuple(
            (truth, predicted, units.count(before), units.count(after))
            for truth, predicted, before, after in counted[:MOST_MISTAKES]
        ),
        folded="always",
    )


def _mistakes(found: Classes) -> Iterator[tuple[str, str, int, int]]:
    matrices = zip(found.trained.confusion, found.deployed.confusion, strict=True)
    for truth, (before, after) in enumerate(matrices):
        for predicted, counts in enumerate(zip(before, after, strict=True)):
            if truth != predicted and any(counts):
                yield found.names[truth], found.names[predicted], *counts


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """A confusion matrix before and one after, on one scale."""
    found = described(report)
    if found is None or not 2 <= len(found.names) <= MOST_CLASSES or not found.trained.confusion:
        return
    before, after = found.trained.confusion, found.deployed.confusion
    most = max([FEW, *(count for each in (before, after) for count, _, _ in _wrong(each))])
    unit = ", in pixels" if found.unit == "pixels" else ""
    for name, of, confusion in (
        ("confusion-before", "the trained model", before),
        ("confusion-after", found.engine, after),
    ):
        yield _matrix(name, f"Confusion of {of}{unit}", found, confusion, most)


def _wrong(confusion: Confusion) -> Iterator[tuple[int, int, int]]:
    """Count, truth and prediction of every kind of mistake that was made."""
    for truth, counts in enumerate(confusion):
        for predicted, count in enumerate(counts):
            if truth != predicted and count:
                yield count, truth, predicted


def _matrix(name: str, title: str, found: Classes, confusion: Confusion, most: int) -> Chart:
    """Rows are the truth. A mistake is the redder the more images, or pixels, it took."""
    short = [each if len(each) <= 8 else each[:7] + "…" for each in found.names]
    is_long = max(map(len, short)) > 3
    axes = panel(WIDTH - 10, left=62 if is_long else 40, bottom=56 if is_long else 38, top=4)
    _fill(axes, confusion, most)
    ticks = [place + 0.5 for place in range(len(short))]
    size = SMALL if len(short) <= 20 else 7
    axes.set_xticks(ticks, short, rotation=90 if is_long else 0, fontsize=size)
    axes.set_yticks(ticks, short, fontsize=size)
    axes.tick_params(length=0)
    if not is_long:
        axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    return Chart(name, title, _in_words(found, confusion), figure_of(axes))


def _fill(axes: Axes, confusion: Confusion, most: int) -> None:
    """Coloured cells, with numbers where there is room for them."""
    count = len(confusion)
    colours: list[tuple[str, float]] = []
    for truth, counts in enumerate(confusion):
        for predicted, images in enumerate(counts):
            if truth == predicted:
                colours.append((STAND_IN["fp32"], 0.25))
            elif images:
                colours.append((BAD, 0.12 + 0.8 * (images / most) ** 0.5))
            else:
                colours.append((PANEL, 1.0))
            if images and count <= NUMBERED:
                axes.text(
                    predicted + 0.5, truth + 0.5, _short(images), ha="center", va="center",
                    color=QUIET if truth == predicted else STAND_IN["text"],
                    fontsize=9 if images < 10_000 else 7,
                )  # fmt: skip
    mesh = axes.pcolormesh([[0.0] * count] * count, edgecolors=STAND_IN["page"], linewidth=1)
    mesh.set_array(None)
    mesh.set_facecolor(colours)
    axes.set_ylim(count, 0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _short(count: int) -> str:
    """1234 -> "1234", 123_456 -> "123k", 12_345_678 -> "12M": what a cell has room for."""
    for limit, scale, unit in ((100_000, 1, ""), (1_000_000, 1000, "k")):
        if count < limit:
            return f"{count / scale:.0f}{unit}"
    return f"{count / 1e6:.3g}M"


def _in_words(found: Classes, confusion: Confusion) -> str:
    """How many images, or pixels, were classified wrongly, and the most frequent mistakes."""
    names = found.names
    wrong = sorted(_wrong(confusion), key=lambda each: -each[0])
    total = sum(map(sum, confusion))
    counted = (
        f"{sum(count for count, _, _ in wrong):,} of {total:,} {found.unit} classified wrongly."
    )
    most = ", ".join(
        f"{names[truth]} as {names[predicted]} {count:,} times"
        for count, truth, predicted in wrong[:3]
    )
    return f"{counted} Most often: {most}." if most else f"{counted} None was."
