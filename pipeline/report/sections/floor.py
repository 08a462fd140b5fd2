"""The least time that the machine needs for the network, and how far each engine is from it."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.report.tables import Table
from pipeline.results import floor, units
from pipeline.results.floor import Distance
from pipeline.results.model import Report
from stages.engines.registry import backend_label
from stages.results.engines import Bandwidth, BenchmarkDetails, Peak

GIGA = 1e9


def floor_table(report: Report) -> Table:
    """One row for everything that was timed of an engine whose peak is known."""
    return Table(
        "Floor",
        "What this machine needs at least for the arithmetic and the memory of the network",
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
    yield from _of_machine(benchmark)


def _of_machine(benchmark: BenchmarkDetails) -> Iterator[str]:
    """What the CPU can do with each number of threads, and the GPU."""
    for device, threads in sorted({(floor.device(each), each.threads) for each in benchmark.peaks}):
        peaks = [
            _reached(each)
            for each in benchmark.peaks
            if (floor.device(each), each.threads) == (device, threads)
        ]
        copies = [
            _copied(each)
            for each in benchmark.bandwidths
            if (each.device, each.threads) == (device, threads)
        ]
        words = "One thread" if threads == 1 else f"{threads} threads"
        who = words if device == "cpu" else "The GPU"
        of_memory = f"copies in GB/s: {', '.join(copies)}" if copies else "copies not measured"
        yield f"{who}, in billions of multiply-adds a second: {', '.join(peaks)}; {of_memory}."


def _reached(peak: Peak) -> str:
    reached = f"{floor.peak_words(peak)} {peak.multiply_adds_per_second / GIGA:,.0f}"
    is_gpu = floor.device(peak) == "gpu"
    return f"{reached} in {backend_label(peak.kernel)}" if is_gpu else reached


def _copied(found: Bandwidth) -> str:
    return f"{found.bytes_per_second / GIGA:,.0f} of {units.size(found.moved_bytes)}"
