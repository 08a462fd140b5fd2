"""The quality gate: how much accuracy the fastest engine may lose against the trained model."""

from __future__ import annotations

from pipeline.reports import yardstick
from pipeline.reports.verdict import engine_name
from pipeline.reports.yardstick import Report
from stages.errors import GateFailed

ROUNDING_POINTS = 1e-9
"""Shares of samples are no exact floats: a loss of exactly the allowed points passes."""


def is_due(report: Report) -> bool:
    """Whether there is a benchmark of the artifacts as they are now."""
    benchmark = yardstick.stage_named(report, "benchmark")
    return benchmark is not None and not benchmark["outdated"]


def check(report: Report, max_accuracy_drop: float) -> None:
    """Compare the fastest engine's top-1 accuracy with the trained model's.

    `max_accuracy_drop` is in percentage points. The fastest engine is the one with the lowest
    p50 at the smallest batch size. Raises GateFailed with what was got and what is allowed.
    """
    found = yardstick.chosen_engine(report)
    change = None if found is None else yardstick.engine_change(report, found[0])
    if found is None or change is None:
        raise GateFailed(
            "the accuracy gate has nothing to compare: no engine ran here on the test split",
            "which engines run here: pipeline doctor",
        )
    if -change > max_accuracy_drop + ROUNDING_POINTS:
        raise GateFailed(
            f"{engine_name(found[0])} has {100 * found[0]['accuracy']['top1']:.2f} % top-1 "
            f"accuracy, {-change:.2f} points below the trained model; "
            f"allowed are {max_accuracy_drop:g}",
            "lower prune.ratio or raise quantize.epochs, or allow more with --max-accuracy-drop",
        )
