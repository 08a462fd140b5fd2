"""What pruning took, and what the choice was made by: two tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.report.tables import Grid
from pipeline.results import units
from pipeline.results.comparability import Report, stage_named


def width_grid(report: Report) -> Grid:
    """Channels of every group of layers before and after."""
    found = details(report)
    rows = tuple(
        (
            units.shortened(group["layers"]),
            str(group["channels_before"]),
            str(group["channels_after"]),
        )
        for group in found.get("groups") or []
    )
    caption = "Layers whose channels can only go together, and how many they have"
    columns = ("what", "channels before", "channels after")
    return Grid("Pruning", caption, columns, rows, tuple(_notes(found)))


def _notes(details: Mapping[str, Any]) -> Iterator[str]:
    latency = details.get("latency")
    if latency:
        yield (
            f"Latency on {latency['target']}, as a share of the trained network's: "
            f"predicted {_share(latency['predicted_ratio'])}, "
            f"measured {_share(latency['measured_ratio'])}."
        )
    if details.get("verdict"):
        yield f"Pruned by {details['method']}: {details['verdict']}."


def sensitivity_grid(report: Report) -> Grid:
    """What every group alone loses and saves at each width."""
    rows = tuple(
        (
            units.shortened(level["layers"]),
            f"{level['width']} of {level['channels']}",
            units.points(-100 * level["accuracy_drop"]),
            units.milliseconds(level["latency_ms"]),
            _share(level["latency_ratio"]),
        )
        for level in details(report).get("sensitivity") or []
    )
    caption = "Each group narrowed alone, on the validation images, without a fine-tune"
    return Grid("Sensitivity", caption, ("what", "channels", "change", "p50 ms", "share"), rows)


def details(report: Report) -> Mapping[str, Any]:
    """What the stage `prune` recorded; empty without it."""
    stage = stage_named(report, "prune")
    return (stage or {}).get("details") or {}


def _share(ratio: float) -> str:
    return f"{ratio:.2f}"
