"""Everything that was timed, with what is needed to believe it; and the choice made by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.report.tables import ENGINE_STAGES, Grid
from pipeline.results import comparability, units
from pipeline.results.comparability import Report, Row

Cell = Callable[[Row], str]


def latency_grid(report: Report) -> Grid:
    """Every latency that was measured; columns that no row has a value for are left out."""
    found = list(_all_rows(report))
    cells = {
        name: [write(row) for _, row in found]
        for name, write in COLUMNS.items()
        if name not in OPTIONAL or any(row.get(OPTIONAL[name]) is not None for _, row in found)
    }
    rows = tuple(
        (f"{name}: {runtime_of(row)}", *(column[place] for column in cells.values()))
        for place, (name, row) in enumerate(found)
    )
    notes = tuple(_notes([row for _, row in found]))
    return Grid("Latency", "Everything that was timed", ("model", *cells), rows, notes)


def _all_rows(report: Report) -> Iterator[tuple[str, Row]]:
    for stage in report["stages"]:
        if stage["stage"] not in ENGINE_STAGES:
            own = (row for row in stage["latency"] if row["measured_in"] == stage["stage"])
            yield from ((stage["stage"], row) for row in own)
    yield from (("baseline", row) for row in report["baseline"]["latency"])
    for engine in report["engines"]:
        yield from (("engine", row) for row in engine["latency"])


def runtime_of(row: Row | None) -> str:
    """ "onnxruntime int8"."""
    return f"{row['runtime']} {row['precision']}" if row else units.UNKNOWN


def _notes(rows: list[Row]) -> Iterator[str]:
    if any(_is_indicative(row) for row in rows):
        yield f"p99 from fewer than {comparability.P99_SAMPLES:,} samples is indicative only."
    if any(row.get("stable") is False for row in rows):
        yield "UNSTABLE: the median moved while it was timed; measure again on a quiet machine."


def _is_indicative(row: Row) -> bool:
    few = (row["samples"] or 0) < comparability.P99_SAMPLES
    return row["p99_ms"] is not None and bool(row.get("p99_is_indicative", few))


def _interval(row: Row) -> str:
    low, high = row.get("p50_low_ms"), row.get("p50_high_ms")
    if low is None or high is None:
        return units.UNKNOWN
    return f"{units.milliseconds(low)} to {units.milliseconds(high)}"


def _stable(row: Row) -> str:
    return comparability.stability(row) or units.UNKNOWN


COLUMNS: dict[str, Cell] = {
    "batch": lambda row: units.count(row["batch_size"]),
    "threads": lambda row: units.count(row["threads"]),
    "p50 ms": lambda row: units.milliseconds(row["p50_ms"]),
    "95 % of p50": _interval,
    "timing": _stable,
    "p90 ms": lambda row: units.milliseconds(row["p90_ms"]),
    "p99 ms": lambda row: (
        units.milliseconds(row["p99_ms"]) + (" (indicative)" if _is_indicative(row) else "")
    ),
    "mean ms": lambda row: units.milliseconds(row["mean_ms"]),
    "images/s": lambda row: units.count(row["images_per_second"]),
    "saturated images/s": lambda row: units.count(row.get("saturated_images_per_second")),
    "peak MiB": lambda row: units.count(row.get("peak_memory_mib")),
    "samples": lambda row: units.count(row["samples"]),
}

OPTIONAL = {
    "95 % of p50": "p50_low_ms",
    "timing": "stable",
    "saturated images/s": "saturated_images_per_second",
    "peak MiB": "peak_memory_mib",
}
"""Columns that older records lack, and the key that fills them."""


def choice_grid(report: Report) -> Grid:
    """What build measured to choose an engine per batch size, the chosen ones marked."""
    build = comparability.stage_named(report, "build")
    auto = (build["details"].get("auto") if build else None) or {}
    columns = ("engine", "batch", "threads", "p50 ms", "95 % of p50", "accuracy")
    rows = tuple(_choice_cells(row, auto.get("chosen") or {}) for row in auto.get("table") or [])
    allowed = auto.get("max_accuracy_drop")
    budget = f"within {allowed:g} points of the trained model" if allowed is not None else "any"
    caption = f"Fastest engine per batch size, accuracy {budget}; timed briefly by build"
    return Grid("Choice of the engine", caption, (*columns, "budget", "choice"), rows)


def _choice_cells(row: Mapping[str, Any], chosen: Mapping[str, Any]) -> tuple[str, ...]:
    best = chosen.get(str(row["batch_size"])) or {}
    is_best = best.get("engine") == row["engine"] and best.get("threads") == row["threads"]
    steady = "" if row.get("stable", True) else " UNSTABLE"
    return (
        str(row["engine"]).replace(".", " "),
        units.count(row["batch_size"]),
        units.count(row["threads"]),
        units.milliseconds(row["p50_ms"]) + steady,
        _interval(row),
        units.percent(row.get("top1")),
        _budget(row.get("within_budget")),
        "chosen" if is_best else "",
    )


def _budget(is_within: bool | None) -> str:
    if is_within is None:
        return units.UNKNOWN
    return "within" if is_within else "too far off"
