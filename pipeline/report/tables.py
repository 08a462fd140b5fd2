"""The tables of a report as plain text cells, for every format to draw in its own way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.results import comparability, units
from pipeline.results.comparability import Report, Row
from pipeline.results.verdict import engine_name

STATES = {"ran": "ran", "built_not_run": "built, not run", "unavailable": "unavailable"}
WORDS = frozenset(
    [
        "stage",
        "model",
        "engine",
        "runtime",
        "state",
        "what",
        "key",
        "value",
        "rung",
        "against",
        "agrees",
        "tensor",
        "signs",
        "difference",
        "in A",
        "in B",
        "id",
        "time",
        "gates",
        "settings that changed",
        "class",
        "truth",
        "named",
        "layer",
        "kind",
        "requested",
        "executed",
        "tactic",
        "timing",
        "budget",
        "choice",
    ]
)
FEWER = "*"
SHAKY = "!"
ENGINE_STAGES = ("build", "benchmark")
"""Stages whose own rows are those of one of their engines."""


@dataclass(frozen=True)
class Grid:
    """A table; its columns are numbers, except those named in `WORDS`."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def is_words(self, column: int) -> bool:
        """Whether a column reads from the left, as words do, and may be broken into lines."""
        return self.columns[column] in WORDS


@dataclass(frozen=True)
class NotRun:
    """Engines that were not run for one and the same reason, and what would change it."""

    names: str
    state: str
    reason: str
    fix: str


def stage_grid(report: Report) -> Grid:
    """What each stage cost and bought."""
    batch = comparability.compared_batch(report)
    timing = "p50 ms" if batch is None else f"p50 ms, batch {batch}"
    columns = ("stage", "accuracy", "change", timing, "runtime", "speed-up", "size", "parameters")
    rows = tuple(_stage_cells(report, stage) for stage in report["stages"])
    caption = "Each stage's model against the trained one"
    return Grid("The line", caption, columns, rows, tuple(_stage_notes(report)))


def _stage_cells(report: Report, stage: Mapping[str, Any]) -> tuple[str, ...]:
    found = comparability.chosen_engine(report)
    if stage["stage"] == "benchmark" and found is not None:
        return _winner_cells(report, stage, *found)
    row = comparability.stage_row(stage, comparability.compared_batch(report))
    return (
        _marked_name(stage),
        _accuracy(report, stage["accuracy"]),
        units.points(comparability.stage_change(report, stage)),
        units.milliseconds(row["p50_ms"] if row else None),
        _runtime(row),
        units.times(comparability.stage_speedup(report, stage)),
        units.size(stage["model"]["size_bytes"]),
        units.count(stage["model"]["parameters"]),
    )


def _winner_cells(
    report: Report, stage: Mapping[str, Any], engine: Mapping[str, Any], row: Row
) -> tuple[str, ...]:
    """The benchmark's line: the fastest engine at the smallest batch."""
    return (
        _marked_name(stage),
        _accuracy(report, engine["accuracy"]),
        units.points(comparability.engine_change(report, engine)),
        units.milliseconds(row["p50_ms"]),
        engine_name(engine),
        units.times(comparability.engine_speedup(report, engine, row["batch_size"])),
        units.size(engine["size_bytes"]),
        units.UNKNOWN,
    )


def _marked_name(stage: Mapping[str, Any]) -> str:
    return f"{stage['stage']} (old)" if stage["outdated"] else str(stage["stage"])


def _accuracy(report: Report, accuracy: Mapping[str, Any]) -> str:
    fewer = accuracy["top1"] is not None and _is_on_fewer(report, accuracy)
    return units.percent(accuracy["top1"]) + (FEWER if fewer else "")


def _is_on_fewer(report: Report, accuracy: Mapping[str, Any]) -> bool:
    """Whether this accuracy comes from another number of images than the trained model's."""
    train = comparability.stage_named(report, "train")
    return train is not None and accuracy["samples"] != train["accuracy"]["samples"]


def _runtime(row: Row | None) -> str:
    return f"{row['runtime']} {row['precision']}" if row else units.UNKNOWN


def _stage_notes(report: Report) -> Iterator[str]:
    stages = report["stages"]
    cached = [stage["stage"] for stage in stages if stage["state"] == "cached"]
    outdated = [stage["stage"] for stage in stages if stage["outdated"]]
    rows = [
        comparability.stage_row(stage, comparability.compared_batch(report)) for stage in stages
    ]
    if any(row and row["runtime"] == "tf.function" for row in rows):
        yield "tf.function: TensorFlow's own compiled graph, compared only with itself."
    if cached:
        yield f"From an earlier run: {', '.join(cached)}."
    if outdated:
        yield f"Made from older files (old): {', '.join(outdated)}. Run: pipeline run all"
    shown = [stage["accuracy"] for stage in stages]
    shown += [engine["accuracy"] for engine in report["engines"]]
    if any(each["top1"] is not None and _is_on_fewer(report, each) for each in shown):
        yield f"{FEWER} on another number of images than train's, so no change is given."


def engine_grid(report: Report) -> Grid:
    """Every engine that was built, with p50 at each batch size; `not_run` has the others."""
    engines = [engine for engine in report["engines"] if engine["state"] != "unavailable"]
    sizes = comparability.batch_sizes(row for engine in engines for row in engine["latency"])
    rate = f"images/s, batch {sizes[-1]}" if sizes else "images/s"
    columns = ("engine", "state", "accuracy", *(f"p50 ms, batch {size}" for size in sizes))
    rows = tuple(cells for engine in engines for cells in _engine_cells(report, engine, sizes))
    alone = any(row["measured_in"] == "build" for each in engines for row in each["latency"])
    notes = ["Timed briefly by build: the benchmark measures at length."] if alone else []
    if any(SHAKY in cell for cells in rows for cell in cells[3:]):
        notes.append(f"{SHAKY} UNSTABLE: the median moved while it was timed.")
    notes += [*_choices(report), *_changes(report)]
    caption = "Accuracy and latency of the engine files themselves"
    return Grid("Engines", caption, (*columns, rate, "size"), rows, tuple(notes))


def _choices(report: Report) -> Iterator[str]:
    """Which engine build chose for which batch size, and by what rule."""
    build = comparability.stage_named(report, "build")
    auto = (build["details"].get("auto") if build else None) or {}
    chosen = auto.get("chosen") or {}
    if chosen:
        limit = auto.get("max_accuracy_drop")
        budget = f"Within {limit:g} points of accuracy" if limit is not None else "As the fastest"
        told = (f"{each['engine'].replace('.', ' ')} (batch {batch})"
                for batch, each in chosen.items())  # fmt: skip
        yield f"{budget}, build chose: {', '.join(told)}."


def _changes(report: Report) -> Iterator[str]:
    """How many images the engine of the run names otherwise than the trained model."""
    benchmark = comparability.stage_named(report, "benchmark")
    changed = (benchmark["details"].get("changed") if benchmark else None) or {}
    if benchmark and not benchmark["outdated"] and changed:
        yield (
            f"{changed['engine'].replace('.', ' ')} against the trained model, image by image: "
            f"{changed['lost']:,} lost, {changed['won']:,} won, {changed['other']:,} wrong in "
            "another way."
        )


def _engine_cells(
    report: Report, engine: Mapping[str, Any], sizes: Sequence[int]
) -> Iterator[tuple[str, ...]]:
    """One line per thread count."""
    threads = sorted({row["threads"] or 1 for row in engine["latency"]}) or [1]
    for each in threads:
        rows = [row for row in engine["latency"] if (row["threads"] or 1) == each]
        found = [comparability.fastest(rows, size) for size in sizes]
        rate = found[-1]["images_per_second"] if found and found[-1] else None
        yield (
            engine_name(engine) + (f", {_threads(each)}" if len(threads) > 1 else ""),
            STATES[engine["state"]],
            _accuracy(report, engine["accuracy"]),
            *map(_median, found),
            units.count(rate),
            units.size(engine["size_bytes"]),
        )


def _median(row: Row | None) -> str:
    if row is None:
        return units.UNKNOWN
    return units.milliseconds(row["p50_ms"]) + (SHAKY if row.get("stable") is False else "")


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def not_run(report: Report) -> list[NotRun]:
    """The engines that were not run, one entry per reason."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for engine in report["engines"]:
        if engine["state"] != "ran":
            why = (engine["reason"] or "no reason was recorded", engine["fix"] or "")
            key = (engine["backend"], STATES[engine["state"]], *why)
            groups.setdefault(key, []).append(engine["precision"])
    return [
        NotRun(f"{backend} {', '.join(precisions)}", state, reason, fix)
        for (backend, state, reason, fix), precisions in groups.items()
    ]


def environment_grid(report: Report) -> Grid:
    """Where the last stage ran."""
    return _pairs("Environment", "Where the last stage ran", report["environment"])


def conditions_grid(report: Report) -> Grid:
    """What the machine was doing while the engines were timed."""
    benchmark = comparability.stage_named(report, "benchmark")
    conditions = benchmark["details"].get("conditions") if benchmark else None
    return _pairs("Conditions", "While the engines were timed", conditions or {})


def dataset_grid(report: Report) -> Grid:
    """How many images were used for what."""
    return _pairs("Data set", "Images by use", report["dataset"])


def settings_grid(report: Report) -> Grid:
    """The settings of every stage; one that an earlier stage shares is not repeated."""
    seen: set[tuple[str, str]] = set()
    rows = []
    for stage in report["stages"]:
        for pair in flatten(stage["settings"]):
            if pair not in seen:
                seen.add(pair)
                rows.append((stage["stage"], *pair))
    return Grid("Settings", "As each stage saw them", ("stage", "key", "value"), tuple(rows))


def _pairs(title: str, caption: str, values: Mapping[str, Any]) -> Grid:
    return Grid(title, caption, ("what", "value"), tuple(flatten(values)))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """{"cpu": {"cores": 2}} -> ("cpu.cores", "2"); lists are joined, None is left out.

    Fractions keep four significant digits.
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{key}", ", ".join(map(str, value)) or "none"
        elif isinstance(value, float):
            yield f"{prefix}{key}", f"{value:.4g}"
        elif value is not None:
            yield f"{prefix}{key}", str(value)
