"""The parity ladder: how far every graph and engine is from what it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.report.sections.quantization import rungs
from pipeline.report.svg import (
    BAD,
    QUIET,
    STAND_IN,
    Chart,
    figure_of,
    log_scale,
    panel,
    row_label,
    rows_only,
)
from pipeline.results import units
from pipeline.results.comparability import Report
from pipeline.results.evidence import Evidence


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """One row per rung."""
    found = rungs(report)
    if found:
        yield _ladder(found)


def _ladder(found: list[Mapping[str, Any]]) -> Chart:
    axes = panel(34.0 * len(found) + 56, bottom=40, top=4)
    differences = [rung["max_absolute_difference"] for rung in found]
    seen = [each for each in differences if each]
    least = min(seen, default=1e-7) / 4
    log_scale(axes, least / 2, max(seen, default=1e-6) * 3, _power)
    rows_only(axes, len(found))
    for place, (rung, difference) in enumerate(zip(found, differences, strict=True)):
        colour = STAND_IN["good"] if rung["holds"] else BAD
        mark = "o" if rung["holds"] else "X"
        axes.plot([least / 2, difference or least], [place + 0.15] * 2, color=colour, lw=1.5)
        axes.plot(difference or least, place + 0.15, mark, ms=7, color=colour)
        same = f"{units.percent(rung['top1_agreement'])} same"
        row_label(axes, place + 0.2, rung["rung"], same if rung["holds"] else f"breaks, {same}")
    axes.set_xlabel("largest difference of a logit; no difference: far left", color=QUIET)
    told = "; ".join(
        f"{rung['rung']} against {rung['against']} {rung['max_absolute_difference']:.1g}, "
        f"{'agrees' if rung['holds'] else 'breaks'}"
        for rung in found
    )
    text = f"Largest difference of a logit: {told}."
    return Chart("parity", "ladder", "Parity ladder", text, figure_of(axes))


def _power(value: float) -> str:
    """1e-06 -> "1e-6"."""
    return f"{value:.0e}".replace("e-0", "e-").replace("e+00", "")
