"""The least time that this CPU needs for the network, and how far each engine is from it."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.report.tables import Table
from pipeline.results import floor, units
from pipeline.results.floor import Distance
from pipeline.results.model import Report
from stages.results.engines import Bandwidth, BenchmarkDetails

GIGA = 1e9


def floor_table(report: Report) -> Table:
    """One row for everything that was timed of an engine whose peak is known."""
    return Table(
        "Floor",
        "What this CPU needs at least for the arithmetic and the memory of the network",
        (
            "engine",
            "batch",
            "threads",
            "p50 ms",
            "floor ms",
            "bound",
            "of p50",
            "per call",
            "limit",
        ),
        tuple(_cells(each) for each in floor.distances(report)),
        tuple(_notes(report)),
        folded="with charts",
    )


def _cells(found: Distance) -> tuple[str, ...]:
    return (
        found.engine.name.words,
        units.count(found.row.batch_size),
        units.count(found.row.threads),
        units.milliseconds(found.row.p50_ms),
        units.milliseconds(found.floor.ms),
        found.floor.bound,
        f"{100 * found.share:.0f} %",
        units.UNKNOWN if found.fixed_ms is None else units.duration(found.fixed_ms),
        found.limit,
    )


def _notes(report: Report) -> Iterator[str]:
    benchmark, convert = report.details(BenchmarkDetails), report.stage("convert")
    of_run = floor.of_run(report)
    if benchmark is None or convert is None or of_run is None:
        return
    yield floor.sentence(of_run)
    yield (
        f"The network has {units.count(convert.model.multiply_adds)} multiply-adds and "
        f"{units.count(convert.model.parameters)} weights, and moves "
        f"{units.count(floor.moved_activations(report))} activations per image."
    )
    for threads in sorted({each.threads for each in benchmark.peaks}):
        peaks = [
            f"{floor.peak_words(each)} {each.multiply_adds_per_second / GIGA:,.0f}"
            for each in benchmark.peaks
            if each.threads == threads
        ]
        copies = [_copied(each) for each in benchmark.bandwidths if each.threads == threads]
        words = "One thread" if threads == 1 else f"{threads} threads"
        of_memory = f"copies in GB/s: {', '.join(copies)}" if copies else "copies not measured"
        yield (f"{words}, in billions of multiply-adds a second: {', '.join(peaks)}; {of_memory}.")


def _copied(found: Bandwidth) -> str:
    return f"{found.bytes_per_second / GIGA:,.0f} of {units.size(found.moved_bytes)}"
