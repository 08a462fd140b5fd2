"""The parity checks of a run, from Keras through the graphs to the engines, and which failed."""

from __future__ import annotations

from pipeline.results.model import Report
from stages.results.conversion import ConvertDetails, LayerParity, ParityCheck
from stages.results.engines import BuildDetails


def checks(report: Report) -> list[ParityCheck]:
    """The checks of outputs, in order; those of a stage made from older files are left out."""
    return [
        check
        for stage in report.stages
        if isinstance(stage.details, (ConvertDetails, BuildDetails)) and not stage.outdated
        for check in stage.details.parity_checks
    ]


def layers(report: Report) -> tuple[LayerParity, ...]:
    """The layer-local tests, none of a stage made from older files."""
    convert = report.details(ConvertDetails)
    return convert.layer_parity if convert and report.is_current("convert") else ()


def judged(report: Report) -> dict[str, bool]:
    """What was compared -> whether it agreed: layer by layer first, then by outputs."""
    by_layer = {
        f"{each.name}, layer by layer"
        + (f": {each.worst_point}" if each.worst_point else ""): each.passes
        for each in layers(report)
    }
    return by_layer | {check.name: check.passed for check in checks(report)}


def failure(report: Report) -> str | None:
    """One sentence that names the first mismatch, None where everything agrees."""
    results = judged(report)
    failed = [name for name, passed in results.items() if not passed]
    if not failed:
        return None
    build = report.details(BuildDetails)
    first = build.divergences.get(failed[0]) if build and report.is_current("build") else None
    place = f" (from {first.node} on)" if first else ""
    return (
        f"Parity fails in {len(failed)} of {len(results)} checks, first in {failed[0]}{place}: "
        "do not deploy these engines before the cause is known."
    )
