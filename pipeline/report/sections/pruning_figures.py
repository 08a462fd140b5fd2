"""Which layers became narrower, and what that choice was made by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.report.sections.pruning import details
from pipeline.report.svg import (
    ACCENT,
    LINE,
    QUIET,
    SMALL,
    STAND_IN,
    Chart,
    figure_of,
    panel,
    row_label,
    rows_only,
    spread,
)
from pipeline.results import units
from pipeline.results.comparability import Report
from pipeline.results.evidence import Evidence

MOST_ROWS = 24
MOST_NAMES = 8

Group = Mapping[str, Any]


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """Widths before and after, and the sensitivity of every group of layers."""
    found = details(report)
    groups = [group for group in found.get("groups") or [] if group["channels_before"]]
    if groups:
        yield _widths(groups)
    levels = found.get("sensitivity") or []
    if levels:
        yield _sensitivity(levels, groups)


def _widths(groups: Sequence[Group]) -> Chart:
    ranked = sorted(
        groups, key=lambda each: each["channels_after"] - each["channels_before"]
    )[:MOST_ROWS]  # fmt: skip
    shown = [group for group in groups if group in ranked]
    axes = panel(34.0 * len(shown) + 30, bottom=22, top=4)
    rows_only(axes, len(shown))
    for place, group in enumerate(shown):
        before, after = group["channels_before"], group["channels_after"]
        axes.barh(place + 0.1, before, 0.32, color=LINE)
        axes.barh(place + 0.1, after, 0.32, color=STAND_IN["fp32"])
        name = units.shortened(group["layers"], 30)
        row_label(axes, place + 0.18, name, f"{before} → {after} channels")
    axes.set_xlim(0, max(group["channels_before"] for group in shown))
    told = "; ".join(
        f"{units.shortened(group['layers'], 30)} {group['channels_before']} to "
        f"{group['channels_after']}"
        for group in shown
    )
    cut = f" The {MOST_ROWS} that lost most of {len(groups)}." if len(shown) < len(groups) else ""
    text = f"Channels before and after: {told}.{cut}"
    return Chart("pruning", "widths", "Channels before and after", text, figure_of(axes))


def _sensitivity(levels: Sequence[Group], groups: Sequence[Group]) -> Chart:
    """To the left faster, further down less accurate; the ring is the width that was chosen."""
    chosen = {tuple(group["layers"]): group["channels_after"] for group in groups}
    curves: dict[tuple[str, ...], list[Group]] = {}
    for level in levels:
        curves.setdefault(tuple(level["layers"]), []).append(level)
    axes = panel(260, left=44, bottom=40)
    axes.grid()
    ends = []
    for layers, found in curves.items():
        ordered = sorted(found, key=lambda each: -each["width"])
        across = [100 * level["latency_ratio"] for level in ordered]
        down = [-100 * level["accuracy_drop"] for level in ordered]
        axes.plot(across, down, "-o", ms=4, color=STAND_IN["fp32"], lw=1.4, alpha=0.7)
        for level, x, y in zip(ordered, across, down, strict=True):
            if level["width"] == chosen.get(layers):
                axes.plot(x, y, "o", ms=10, mfc="none", mec=ACCENT, mew=2.2)
        ends.append((across[-1], down[-1], units.shortened(list(layers), 18)))
    _name_ends(axes, ends)
    axes.set_xlabel("latency, % of the trained network's")
    axes.set_ylabel("accuracy, points")
    told = "; ".join(
        f"{name} loses {-lost:.1f} points at {share:.0f} % of the latency"
        for share, lost, name in ends
    )
    text = f"Each group of layers narrowed alone, at its narrowest: {told}."
    return Chart("pruning", "sensitivity", "Sensitivity to pruning", text, figure_of(axes))


def _name_ends(axes: Any, ends: Sequence[tuple[float, float, str]]) -> None:
    """Name the most sensitive curves at their narrow end, left of it."""
    named = sorted(ends, key=lambda end: end[1])[:MOST_NAMES]
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    left -= 0.22 * (right - left)
    axes.set_xlim(left, right)
    places = spread([end[1] for end in named], (high - low) * 0.07, low, high)
    for (across, down, name), place in zip(named, places, strict=True):
        axes.plot([across, across - 0.02 * (right - left)], [down, place], color=LINE, lw=1)
        axes.text(
            across - 0.025 * (right - left), place, name, ha="right", va="center",
            fontsize=SMALL, color=QUIET,
        )  # fmt: skip
