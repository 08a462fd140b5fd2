"""What pruning took away, and the measurements that it chose by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.report.sections.stages import metric
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
from pipeline.report.tables import Table
from pipeline.results import units
from pipeline.results.model import Report
from stages.results.pruning import PruneDetails, PrunedGroup, SensitivityLevel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pipeline.results.evidence import Evidence

MOST_ROWS = 24
MOST_NAMES = 8


def tables(report: Report) -> Iterator[Table]:
    """Widths and sensitivity of every group of layers."""
    yield width_table(report)
    yield sensitivity_table(report)


def width_table(report: Report) -> Table:
    """Channels of every group of layers before and after."""
    details = report.details(PruneDetails) or PruneDetails()
    return Table(
        "Pruning",
        "Layers whose channels can only go together, and how many they have",
        ("what", "channels before", "channels after"),
        tuple(
            (
                units.shortened(group.layers),
                str(group.channels_before),
                str(group.channels_after or "removed"),
            )
            for group in details.groups
        ),
        tuple(_notes(details)),
        folded="with charts",
    )


def _notes(details: PruneDetails) -> Iterator[str]:
    if details.removed_blocks:
        yield f"Removed whole: {'; '.join(map(units.shortened, details.removed_blocks))}."
    if latency := details.latency:
        yield (
            f"Latency of {units.images(latency.batch_size)} on {latency.target}, as a share of the "
            f"trained network's: predicted {latency.predicted_ratio:.2f}, "
            f"measured {latency.measured_ratio:.2f}."
        )
    if details.verdict:
        yield f"Pruned by {details.method}: {details.verdict}."


def sensitivity_table(report: Report) -> Table:
    """What every group alone loses and saves at each width, and every block by its removal."""
    details = report.details(PruneDetails) or PruneDetails()
    probed = details.probed_images
    after = f"after an epoch on {units.images(probed)}" if probed else "without a fine-tune"
    return Table(
        "Sensitivity",
        f"Each group narrowed or block removed alone, on the validation images, {after}",
        ("what", "channels", "change", "p50 ms", "share"),
        tuple(
            (
                units.shortened(level.layers),
                f"{level.width} of {level.channels}" if level.width else "removed",
                units.points(-100 * level.accuracy_drop),
                units.milliseconds(level.latency_ms),
                f"{level.latency_ratio:.2f}",
            )
            for level in details.sensitivity
        ),
        folded="with charts",
    )


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """Widths before and after, and the sensitivity of every group of layers."""
    details = report.details(PruneDetails) or PruneDetails()
    groups = [group for group in details.groups if group.channels_before]
    if groups:
        yield _widths(groups)
    if details.sensitivity:
        chosen = {group.layers: group.channels_after for group in groups}
        chosen |= dict.fromkeys(details.removed_blocks, 0)
        yield _sensitivity(details.sensitivity, chosen, metric(report))


def _widths(groups: Sequence[PrunedGroup]) -> Chart:
    ranked = sorted(groups, key=lambda group: group.channels_after - group.channels_before)
    shown = [group for group in groups if group in ranked[:MOST_ROWS]]
    axes = panel(34.0 * len(shown) + 30, bottom=22, top=4)
    rows_only(axes, len(shown))
    parts = []
    for place, group in enumerate(shown):
        before, after = group.channels_before, group.channels_after
        axes.barh(place + 0.1, before, 0.32, color=LINE)
        axes.barh(place + 0.1, after, 0.32, color=STAND_IN["fp32"])
        name = units.shortened(group.layers, 30)
        row_label(axes, place + 0.18, name, f"{before} → {after} channels" if after else "removed")
        parts.append(f"{name} {before} to {after}" if after else f"{name} removed")
    axes.set_xlim(0, max(group.channels_before for group in shown))
    cut = f" The {MOST_ROWS} that lost most of {len(groups)}." if len(shown) < len(groups) else ""
    text = f"Channels before and after: {'; '.join(parts)}.{cut}"
    return Chart("widths", "Channels before and after", text, figure_of(axes))


def _sensitivity(
    levels: Sequence[SensitivityLevel], chosen: Mapping[tuple[str, ...], int], metric: str
) -> Chart:
    """Further left is faster, further down less accurate; a ring marks what was chosen."""
    curves: dict[tuple[str, ...], list[SensitivityLevel]] = {}
    for level in levels:
        curves.setdefault(level.layers, []).append(level)
    axes = panel(260, left=44, bottom=40)
    axes.grid()
    ends = []
    for layers, found in curves.items():
        ordered = sorted(found, key=lambda level: -level.width)
        across = [100 * level.latency_ratio for level in ordered]
        down = [-100 * level.accuracy_drop for level in ordered]
        axes.plot(across, down, "-o", ms=4, color=STAND_IN["fp32"], lw=1.4, alpha=0.7)
        for level, x, y in zip(ordered, across, down, strict=True):
            if level.width == chosen.get(layers):
                axes.plot(x, y, "o", ms=10, mfc="none", mec=ACCENT, mew=2.2)
        ends.append((across[-1], down[-1], units.shortened(layers, 18)))
    _name_ends(axes, ends)
    axes.set_xlabel("latency, % of the trained network's")
    axes.set_ylabel(f"{metric}, points")
    parts = "; ".join(
        f"{name} {units.points(change)} points at {share:.0f} % of the latency"
        for share, change, name in ends
    )
    removed = " or removed" if any(level.width == 0 for level in levels) else ""
    text = f"Each group of layers narrowed alone, at its narrowest{removed}: {parts}."
    return Chart("sensitivity", "Sensitivity to pruning", text, figure_of(axes))


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
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
