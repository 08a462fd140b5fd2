"""Latency of the engines of two runs.

The windows of one run are interleaved, those of two runs are not: between the two runs the
machine may have become slower. An engine whose file did not change tells by how much at most,
and every other interval at its batch size is widened by that. Such a control exists only where
versions and machine are the same.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.comparison.model import CHOSEN, LatencyDifference
from pipeline.results.summary import BASELINE, Summary, TimedRow
from stages.engines.registry import ENGINES, EngineName
from stages.numerics import medians
from stages.numerics.medians import LEAST_WINDOWS

Drifts = dict[tuple[int, int | None], float]
"""The largest factor by which the machine may have changed, by batch size and threads."""


def compare(before: Summary, after: Summary) -> list[LatencyDifference]:
    """One entry per engine, batch size and thread count that both runs timed."""
    entries = list(_differences(before, after))
    drifts = _drifts(entries)
    return [entry if entry.is_control else _widened(entry, drifts) for entry in entries]


def _differences(before: Summary, after: Summary) -> Iterator[LatencyDifference]:
    if chosen := _chosen(before, after):
        yield _difference(CHOSEN, *chosen, is_control=False)
    for name, engine in before.engines.items():
        other = after.engines.get(name)
        if other is not None and engine.measured_in == other.measured_in:
            is_control = _is_control(name, before, after)
            for row, against in _pairs(engine.latency, other.latency):
                yield _difference(name, row, against, is_control)


def _chosen(before: Summary, after: Summary) -> tuple[TimedRow, TimedRow] | None:
    """The rows that the runs stand for, if they are of two engines or two numbers of threads."""
    old, new = before.chosen_row, after.chosen_row
    if old is None or new is None or old.batch_size != new.batch_size:
        return None
    is_same = (before.engine, old.threads) == (after.engine, new.threads)
    return None if is_same else (old, new)


def _pairs(
    rows: Sequence[TimedRow], others: Sequence[TimedRow]
) -> Iterator[tuple[TimedRow, TimedRow]]:
    by_key = {(row.batch_size, row.threads): row for row in others}
    for row in rows:
        if against := by_key.get((row.batch_size, row.threads)):
            yield row, against


def _is_control(name: str, before: Summary, after: Summary) -> bool:
    """Whether nothing but the machine's mood can make this engine faster or slower.

    The baseline counts as unchanged if the trained network is the same, whatever its weights.
    """
    if _surroundings(name, before) != _surroundings(name, after):
        return False
    old, new = before.engines[name], after.engines[name]
    if old.sha256 is not None and old.sha256 == new.sha256:
        return True
    was, now = before.stage("train"), after.stage("train")
    network = was.parameters, was.multiply_adds
    is_known = None not in network
    return name == BASELINE and is_known and network == (now.parameters, now.multiply_adds)


def _surroundings(name: str, run: Summary) -> Mapping[str, Any]:
    """The machine, and the versions of the packages that the engine's runtime consists of."""
    backend = "onnxruntime" if name == BASELINE else EngineName.parse(name).backend
    needed = ENGINES[backend].packages if backend in ENGINES else ()
    facts = run.environment
    versions = {package: facts.packages.get(package) for package in needed}
    return {"platform": facts.platform, "hardware": facts.hardware(), **versions}


def _difference(
    engine: str, before: TimedRow, after: TimedRow, is_control: bool
) -> LatencyDifference:
    windows = before.window_p50_ms or (), after.window_p50_ms or ()
    is_certain = min(map(len, windows)) >= LEAST_WINDOWS
    change = medians.ratio(*windows) if is_certain else None
    # Shown is what the ratio is made of: where windows disagree, the p50 of all calls is another.
    old, new = map(statistics.median, windows) if is_certain else (before.p50_ms, after.p50_ms)
    return LatencyDifference(
        engine=engine,
        batch_size=before.batch_size,
        threads=before.threads,
        before_ms=old,
        after_ms=new,
        ratio=new / old,
        low=change.low if change else None,
        high=change.high if change else None,
        is_different=change.excludes(1.0) if change else None,
        is_control=is_control,
    )


def _drifts(entries: Sequence[LatencyDifference]) -> Drifts:
    """The bounds of the controls' intervals: a control is measured as any other engine is."""
    drifts: Drifts = {}
    for entry in entries:
        if entry.is_control:
            key = entry.batch_size, entry.threads
            low, high = entry.low or entry.ratio, entry.high or entry.ratio
            drifts[key] = max(drifts.get(key, 1.0), 1 / low, high)
    return drifts


def _widened(entry: LatencyDifference, drifts: Drifts) -> LatencyDifference:
    drift = drifts.get((entry.batch_size, entry.threads))
    widened: dict[str, object] = {"drift": drift}
    if drift is not None and entry.low is not None and entry.high is not None:
        low, high = entry.low / drift, entry.high * drift
        widened |= {"low": low, "high": high, "is_different": not low <= 1.0 <= high}
    return entry.model_copy(update=widened)
