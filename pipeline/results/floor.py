"""How far each engine is from what the machine can do: the network's floor, and its distance.

Joined from what `convert` counted of the network and what `benchmark` measured of the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.results import comparability, units
from pipeline.results.model import EngineReport, Report, ReportRow
from stages.engines.registry import ENGINES, precision_label
from stages.numerics import roofline
from stages.results.conversion import ConvertDetails
from stages.results.engines import BenchmarkDetails, Peak

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}
"""Of one weight or activation."""

NEAR = 0.4
"""Share of a peak from which the network counts as the limit. That of a large convolution, which
it is measured by, is out of reach of small layers: little more than twice as fast is possible."""


@dataclass(frozen=True)
class Distance:
    """A row of an engine, its floor, and the milliseconds of a call that no batch changes."""

    engine: EngineReport
    row: ReportRow
    peak: Peak
    floor: roofline.Floor
    fixed_ms: float | None

    @property
    def share(self) -> float:
        """Floor by median: 1.0 is as fast as this machine can be."""
        return self.floor.ms / self.row.p50_ms

    @property
    def limit(self) -> Literal["network", "call", "kernels"]:
        """What keeps the engine from being faster."""
        if self.share >= NEAR:
            return "network"
        is_fixed = self.fixed_ms is not None and self.fixed_ms >= self.row.p50_ms / 2
        return "call" if is_fixed else "kernels"


def distances(report: Report) -> Iterator[Distance]:
    """Every row of an engine whose peak and bandwidth were measured; none of an outdated record."""
    convert, benchmark = report.stage("convert"), report.details(BenchmarkDetails)
    if convert is None or benchmark is None or not report.is_current("benchmark"):
        return
    work = (convert.model.multiply_adds, convert.model.parameters, moved_activations(report))
    for engine in comparability.benchmarked(report):
        for row in engine.latency:
            peak = _peak(benchmark, engine, row)
            floor = peak and _floor(work, benchmark, engine, row, peak)
            if peak and floor:
                yield Distance(engine, row, peak, floor, _fixed_ms(engine, row.threads))


def moved_activations(report: Report) -> int | None:
    """What `convert` counted; None where an earlier version did not."""
    details = report.details(ConvertDetails)
    return details.moved_activations if details else None


def _peak(benchmark: BenchmarkDetails, engine: EngineReport, row: ReportRow) -> Peak | None:
    """The fastest kernel with the instructions and the threads of the engine."""
    own = [
        each
        for each in benchmark.peaks
        if each.threads == row.threads and str(engine.name) in each.engines
    ]
    return max(own, key=lambda each: each.multiply_adds_per_second, default=None)


def _floor(
    work: tuple[int | None, int | None, int | None],
    benchmark: BenchmarkDetails,
    engine: EngineReport,
    row: ReportRow,
    peak: Peak,
) -> roofline.Floor | None:
    multiply_adds, weights, activations = work
    if not multiply_adds or weights is None or activations is None:
        return None
    moved = BYTES[engine.precision] * (weights + row.batch_size * activations)
    bandwidths = [
        each
        for each in benchmark.bandwidths
        if each.device == device(peak) and each.threads == row.threads
    ]
    if not bandwidths:
        return None
    # The largest that is not larger than what the engine moves: caches are never underestimated.
    # Where all are larger, memory is no bound.
    fits = [each.bytes_per_second for each in bandwidths if each.moved_bytes <= moved]
    return roofline.floor(
        row.batch_size * multiply_adds,
        moved,
        peak.multiply_adds_per_second,
        fits[-1] if fits else math.inf,
    )


def _fixed_ms(engine: EngineReport, threads: int) -> float | None:
    return roofline.fixed_ms(
        {row.batch_size: row.p50_ms for row in engine.latency if row.threads == threads}
    )


def of_run(report: Report) -> Distance | None:
    """That of the engine and the row that the run stands for."""
    chosen = comparability.chosen_engine(report)
    if chosen is None:
        return None
    return next((each for each in distances(report) if each.row is chosen[1]), None)


def device(peak: Peak) -> Literal["cpu", "gpu"]:
    """What it is a peak of."""
    return ENGINES[peak.kernel].device


def peak_words(peak: Peak) -> str:
    """ "INT8 peak with AMX"."""
    return f"{precision_label(peak.precision)} peak" + (" with AMX" if peak.has_amx else "")


def sentence(found: Distance) -> str:
    """What is the limit of an engine, by the numbers."""
    is_memory = found.floor.bound == "memory"
    what = (
        f"this {device(found.peak).upper()}'s {'memory' if is_memory else peak_words(found.peak)}"
    )
    runs = (
        f"{found.engine.name.label} runs at {found.share:.0%} of what {what} allows for "
        f"{units.images(found.row.batch_size)}"
    ).replace("%", " %")
    if found.limit == "network":
        return f"{runs}: the network is the limit."
    if found.limit == "call" and found.fixed_ms is not None:
        fixed, whole = units.duration(found.fixed_ms), units.duration(found.row.p50_ms)
        return f"{runs}: {fixed} of {whole} are the cost of a call itself, so the engine is."
    return f"{runs}: the kernels of the engine are the limit, for layers of this shape."
