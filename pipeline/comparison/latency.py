"""Latency of the engines of two runs.

The windows of one run are interleaved, those of two runs are not: between the two runs the
machine may have become slower. An engine whose file did not change tells by how much at most,
and every other interval at its batch size is widened by that. Such a control exists only where
versions and machine are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.comparison.runs import Run
from pipeline.results import comparability
from pipeline.results.summary import BASELINE, Summary, chosen_row
from stages.engines.registry import ENGINES
from stages.numerics import medians
from stages.numerics.medians import LEAST_WINDOWS

Row = Mapping[str, Any]
Entry = dict[str, Any]

CHOSEN = "the chosen engine"
NETWORK = ("parameters", "multiply_adds")
"""What says that two trained models are the same network, whatever their weights are."""

MACHINE = ("platform", "machine", "cpu", "gpu")


def compare(before: Run, after: Run) -> list[Entry]:
    """One entry per engine, batch size and thread count that both runs timed.

    engine, batch_size, threads   what was timed; "the chosen engine" where they chose two
    before_ms, after_ms           the two p50, in milliseconds
    ratio, low, high              after / before with its 95 % interval; None where one of them
                                  was not measured in at least five windows
    is_different                  whether the interval excludes 1; None without one
    is_control                    whether both timed the same file, or network, on the same
                                  machine: then the difference is the machine's
    drift                         the factor by which the machine may have changed, with which
                                  the interval was widened; None where no control tells
    """
    entries = list(_entries(before.summary, after.summary))
    drifts = _drifts(entries)
    return [
        {**entry, "drift": None} if entry["is_control"] else _widened(entry, drifts)
        for entry in entries
    ]


def _entries(before: Summary, after: Summary) -> Iterator[Entry]:
    if before["engine"] != after["engine"]:
        rows = chosen_row(before), chosen_row(after)
        if rows[0] and rows[1] and rows[0]["batch_size"] == rows[1]["batch_size"]:
            yield _entry(CHOSEN, rows[0], rows[1], is_control=False)
    for name, engine in before["engines"].items():
        other = after["engines"].get(name)
        if other is not None and engine.get("measured_in") == other.get("measured_in"):
            is_control = _is_control(name, before, after)
            for row, against in _pairs(engine["latency"], other["latency"]):
                yield _entry(name, row, against, is_control)


def _pairs(rows: list[Row], others: list[Row]) -> Iterator[tuple[Row, Row]]:
    found = {(row["batch_size"], row.get("threads")): row for row in others}
    for row in rows:
        against = found.get((row["batch_size"], row.get("threads")))
        if against is not None:
            yield row, against


def _is_control(name: str, before: Summary, after: Summary) -> bool:
    """Whether nothing but the machine's mood can make this engine faster or slower."""
    if _surroundings(name, before) != _surroundings(name, after):
        return False
    old, new = before["engines"][name], after["engines"][name]
    if old.get("sha256") is not None and old.get("sha256") == new.get("sha256"):
        return True
    networks = [run["stages"].get("train", {}) for run in (before, after)]
    known = [tuple(each.get(key) for key in NETWORK) for each in networks]
    return name == BASELINE and None not in known[0] and known[0] == known[1]


def _surroundings(name: str, run: Summary) -> Mapping[str, Any]:
    """The machine, and the versions of the packages that the engine's runtime consists of."""
    backend = "onnxruntime" if name == BASELINE else name.partition(".")[0]
    needed = ENGINES[backend].packages if backend in ENGINES else ()
    versions = run["environment"].get("packages") or {}
    machine = {key: run["environment"].get(key) for key in MACHINE}
    return {**machine, **{package: versions.get(package) for package in needed}}


def _entry(name: str, before: Row, after: Row, is_control: bool) -> Entry:
    return {
        "engine": name,
        "batch_size": before["batch_size"],
        "threads": before.get("threads"),
        "before_ms": before["p50_ms"],
        "after_ms": after["p50_ms"],
        **_ratio(before, after),
        "is_control": is_control,
    }


def _ratio(before: Row, after: Row) -> Entry:
    windows = before.get("window_p50_ms") or [], after.get("window_p50_ms") or []
    if min(map(len, windows)) < LEAST_WINDOWS:
        ratio = comparability.ratio(after["p50_ms"], before["p50_ms"])
        return {"ratio": ratio, "low": None, "high": None, "is_different": None}
    found = medians.ratio(*windows)
    return {
        "ratio": found.estimate,
        "low": found.low,
        "high": found.high,
        "is_different": found.excludes(1.0),
    }


def _drifts(entries: list[Entry]) -> dict[tuple[int, int | None], float]:
    """The largest factor that the machine may have changed by: batch size, threads -> factor.

    It is the bound of a control's interval, for the control is measured as any other is.
    """
    drifts: dict[tuple[int, int | None], float] = {}
    for entry in entries:
        if entry["is_control"]:
            bounds = (entry["low"] or entry["ratio"], entry["high"] or entry["ratio"])
            key = entry["batch_size"], entry["threads"]
            drifts[key] = max(drifts.get(key, 1.0), 1 / bounds[0], bounds[1])
    return drifts


def _widened(entry: Entry, drifts: Mapping[tuple[int, int | None], float]) -> Entry:
    drift = drifts.get((entry["batch_size"], entry["threads"]))
    if drift is None or entry["low"] is None:
        return {**entry, "drift": drift}
    low, high = entry["low"] / drift, entry["high"] * drift
    is_different = not low <= 1.0 <= high
    return {**entry, "low": low, "high": high, "is_different": is_different, "drift": drift}
