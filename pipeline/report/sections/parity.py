"""Parity: how far every graph and engine is from what it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

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
from pipeline.report.tables import Table
from pipeline.results import parity, units
from pipeline.results.model import Report
from stages.results.conversion import ParityCheck
from stages.results.engines import BuildDetails

if TYPE_CHECKING:
    from pipeline.results.evidence import Evidence

YES, NO = "yes", "no"


def tables(report: Report) -> Iterator[Table]:
    """All parity checks; a terminal shows those that fail."""
    for every in (parity_table(report), layer_table(report)):
        yield every
        failed = tuple(row for row in every.rows if row[-1] == NO)
        yield replace(every, rows=failed, notes=(), shown_in=("terminal",))


def parity_table(report: Report) -> Table:
    """Keras, graphs and engines, each against what it was made of."""
    checks = parity.checks(report)
    return Table(
        "Parity",
        "The same test images all the way; differences of logits, and what rounding explains",
        (
            "check",
            "against",
            "same answers",
            "max difference",
            "explained",
            "mean difference",
            "agrees",
        ),
        tuple(
            (
                check.words,
                check.against,
                units.percent(check.top1_agreement),
                _difference(check.max_absolute_difference),
                _explained(check.explained_difference),
                _difference(check.mean_absolute_difference),
                YES if check.passed else NO,
            )
            for check in checks
        ),
        tuple(_notes(report, checks)),
        folded="with charts",
    )


def layer_table(report: Report) -> Table:
    """Every graph and runtime, layer by layer."""
    return Table(
        "Parity layer by layer",
        "Each layer computed by Keras from the engine's own values before it",
        ("check", "values", "off by one", "off by more", "not explained", "worst", "agrees"),
        tuple(
            (
                each.name,
                f"{each.elements:,}",
                f"{each.off_by_one:,}",
                f"{each.off_by_more:,}",
                f"{each.unexplained:,}",
                each.worst_point or units.UNKNOWN,
                YES if each.passes else NO,
            )
            for each in parity.layers(report)
        ),
        folded="with charts",
    )


def _explained(value: float | None) -> str:
    return units.UNKNOWN if value is None else f"{value:.2g}"


def _difference(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2g}"


def _notes(report: Report, checks: Sequence[ParityCheck]) -> Iterator[str]:
    if failed := [check.words for check in checks if not check.passed]:
        yield f"The first check that does not pass: {failed[0]}."
    build = report.details(BuildDetails)
    for name, first in build.divergences.items() if build else ():
        yield f"{name}: {first.in_words}."
    if build and (kernels := build.onnxruntime_int8_kernels):
        yield (
            f"ONNX Runtime runs {kernels.integer} of its "
            f"{kernels.integer + kernels.floating} kernels in integers."
        )


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """One row per check."""
    if checks := parity.checks(report):
        yield _differences(checks)


def _differences(checks: Sequence[ParityCheck]) -> Chart:
    axes = panel(34.0 * len(checks) + 56, bottom=40, top=4)
    seen = [check.max_absolute_difference for check in checks if check.max_absolute_difference]
    least = min(seen, default=1e-7) / 4
    log_scale(axes, least / 2, max(seen, default=1e-6) * 3, _power)
    rows_only(axes, len(checks))
    parts = []
    for place, check in enumerate(checks):
        difference = check.max_absolute_difference
        colour, mark = (STAND_IN["good"], "o") if check.passed else (BAD, "X")
        axes.plot([least / 2, difference or least], [place + 0.15] * 2, color=colour, lw=1.5)
        axes.plot(difference or least, place + 0.15, mark, ms=7, color=colour)
        same = f"{units.percent(check.top1_agreement)} same"
        row_label(axes, place + 0.2, check.words, same if check.passed else f"breaks, {same}")
        words = "not finite" if difference is None else f"{difference:.1g}"
        agrees = "agrees" if check.passed else "breaks"
        parts.append(f"{check.words} against {check.against} {words}, {agrees}")
    axes.set_xlabel("largest difference of a logit; no difference: far left", color=QUIET)
    text = f"Largest difference of a logit: {'; '.join(parts)}."
    return Chart("parity-checks", "Parity checks", text, figure_of(axes))


def _power(value: float) -> str:
    """1e-06 -> "1e-6"."""
    return f"{value:.0e}".replace("e-0", "e-").replace("e+00", "")
