"""What pruning took, and what the choice was made by: two tables and a drawing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pipeline.reports import units
from pipeline.reports.grids import Grid
from pipeline.reports.yardstick import Report, stage_named

WIDTH, HEIGHT, MARGIN = 640, 300, 44
"""Of the drawing, in its own units."""
CHOSEN, MEASURED = 'r="7" class="chosen"', 'r="3"'
NAMED = 60
"""A name longer than so many characters is cut: groups may have dozens of layers."""


def width_grid(report: Report) -> Grid:
    """Channels of every group of layers before and after."""
    details = _details(report)
    rows = tuple(
        (_name(group["layers"]), str(group["channels_before"]), str(group["channels_after"]))
        for group in details.get("groups") or []
    )
    caption = "Layers whose channels can only go together, and how many they have"
    columns = ("what", "channels before", "channels after")
    return Grid("Pruning", caption, columns, rows, tuple(_notes(details)))


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
            _name(level["layers"]),
            f"{level['width']} of {level['channels']}",
            units.points(-100 * level["accuracy_drop"]),
            units.milliseconds(level["latency_ms"]),
            _share(level["latency_ratio"]),
        )
        for level in _details(report).get("sensitivity") or []
    )
    caption = "Each group narrowed alone, on the validation images, without a fine-tune"
    return Grid("Sensitivity", caption, ("what", "channels", "change", "p50 ms", "share"), rows)


def drawing(report: Report) -> str:
    """The sensitivity table as SVG: a line per group; "" where there is no such table.

    To the left it is faster, further down it is less accurate; the ring is the chosen width.
    """
    details = _details(report)
    levels: Sequence[Mapping[str, Any]] = details.get("sensitivity") or []
    if not levels:
        return ""
    chosen = {tuple(group["layers"]): group["channels_after"] for group in details["groups"]}
    fastest = min(0.95, *(level["latency_ratio"] for level in levels))
    deepest = max(0.01, *(level["accuracy_drop"] for level in levels))

    def place(level: Mapping[str, Any]) -> tuple[float, float]:
        right = (min(level["latency_ratio"], 1.0) - fastest) / (1.0 - fastest)
        down = max(level["accuracy_drop"], 0.0) / deepest
        return MARGIN + right * (WIDTH - 2 * MARGIN), MARGIN + down * (HEIGHT - 2 * MARGIN)

    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for level in levels:
        groups.setdefault(tuple(level["layers"]), []).append(level)
    lines = "".join(
        _line(names, [(level, *place(level)) for level in found], chosen.get(names))
        for names, found in groups.items()
    )
    label = "Accuracy lost against latency, for each group narrowed alone"
    return (
        f'<svg class="plot" role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"<title>{label}</title>{_axes(fastest, deepest)}{lines}</svg>"
    )


def _line(
    names: tuple[str, ...],
    points: Sequence[tuple[Mapping[str, Any], float, float]],
    chosen: int | None,
) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" '
        f"{CHOSEN if level['width'] == chosen else MEASURED}>"
        f"<title>{escape(_name(names))}: {level['width']} of {level['channels']}</title></circle>"
        for level, x, y in points
    )
    _, x, y = points[0]
    text = f'<text x="{x + 8:.1f}" y="{y - 6:.1f}">{escape(names[0])}</text>'
    return f'<g><polyline points="{path}"/>{dots}{text}</g>'


def _axes(fastest: float, deepest: float) -> str:
    bottom, right = HEIGHT - MARGIN, WIDTH - MARGIN
    return (
        f'<path class="axes" d="M{MARGIN} {MARGIN}V{bottom}H{right}"/>'
        f'<text x="{MARGIN}" y="{bottom + 18}">{_share(fastest)} of the latency</text>'
        f'<text x="{right}" y="{bottom + 18}" text-anchor="end">all of it</text>'
        f'<text x="{MARGIN}" y="{MARGIN - 10}">no accuracy lost</text>'
        f'<text x="{MARGIN + 6}" y="{bottom - 6}">{100 * deepest:.1f} points lost</text>'
    )


def _details(report: Report) -> Mapping[str, Any]:
    stage = stage_named(report, "prune")
    return (stage or {}).get("details") or {}


def _name(layers: Sequence[str]) -> str:
    name = ", ".join(layers)
    return name if len(name) <= NAMED else f"{layers[0]} and {len(layers) - 1} more"


def _share(ratio: float) -> str:
    return f"{ratio:.2f}"
