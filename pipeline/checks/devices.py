"""`pipeline compare-devices`: what an accelerator brings to training, measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from pipeline.checks.aside import run_aside
from pipeline.core.display import Display
from pipeline.core.plan import Stage
from stages.results.asides import DeviceComparison, DeviceSpeed
from stages.settings import Settings, TrainStage

COMPARISON = Stage(
    name="compare-devices",
    revision=1,
    module="stages.training.compare_devices",
    settings=TrainStage,
    result=DeviceComparison,
    needs=(),
    process="tensorflow",
)
"""No row of the plan: it leaves no artifact, and nothing is made from what it measures."""

Rows = Sequence[DeviceSpeed]


def compare(settings: Settings, artifacts: Path, shown: Display) -> Rows:
    """Train on every device of this host in turn; see stages/training/compare_devices.py.

    Only the log stays in `artifacts`. Raises what a stage raises.
    """
    shown.start(COMPARISON.name, "train on every device")
    result = run_aside(COMPARISON, settings, artifacts, shown)
    return result.rows if isinstance(result, DeviceComparison) else ()


def table(rows: Rows) -> Table:
    """One row per device, and in words where there is nothing to compare the CPU with."""
    drawn = Table("device", box=None, pad_edge=False)
    for title in ("images/s", "ms per step", "times the CPU"):
        drawn.add_column(title, justify="right")
    for row in rows:
        drawn.add_row(
            row.device,
            f"{row.images_per_second:,.0f}",
            f"{row.step_ms:.2f}",
            f"{row.times_cpu:.1f}",
        )
    if len(rows) == 1:
        drawn.caption = "TensorFlow sees no GPU on this machine: pipeline doctor"
    return drawn
