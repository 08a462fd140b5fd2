"""The ranges that INT8 has to cover, and how much lies outside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.report.sections.quantization import details
from pipeline.report.svg import STAND_IN, Chart, figure_of, panel, row_label, rows_only
from pipeline.results.comparability import Report
from pipeline.results.evidence import Evidence

MOST_ROWS = 24

Found = Mapping[str, Mapping[str, Any]]


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """The range of every tensor, and what is clipped by it."""
    ranges: Found = details(report, "quantize", "ranges") or {}
    if not ranges:
        return
    yield _ranges(ranges)
    clipped = clipped_shares(report)
    if any(clipped.values()):
        yield _clipped(clipped)


def clipped_shares(report: Report) -> dict[str, float]:
    """Share of the calibration images' values outside the range, by tensor.

    Of the final weights and ranges where the record has that, else as calibrated.
    """
    final: Found = details(report, "quantize", "saturation") or {}
    ranges: Found = details(report, "quantize", "ranges") or {}
    seen = {name: found.get("saturated_share") or 0.0 for name, found in ranges.items()}
    return {**seen, **{name: found["samples_clipped_share"] for name, found in final.items()}}


def _ranges(ranges: Found) -> Chart:
    """Bars from the lowest to the highest value that can be written, in order of the layers."""
    shown = _most(ranges, {name: found["amax"] for name, found in ranges.items()})
    axes = panel(34.0 * len(shown) + 56, bottom=40, top=4)
    rows_only(axes, len(shown))
    for place, (name, found) in enumerate(shown.items()):
        low = -found["amax"] if found["signed"] else 0.0
        axes.barh(place + 0.1, found["amax"] - low, 0.28, low, color=STAND_IN["int8"], alpha=0.85)
        row_label(axes, place + 0.18, name, f"{low:.3g} to {found['amax']:.3g}")
    axes.set_xlabel("value of the activation")
    told = "; ".join(
        f"{name} {'both signs' if found['signed'] else 'from 0'} to {found['amax']:.3g}"
        for name, found in shown.items()
    )
    text = f"Range of each quantized tensor: {told}.{_cut(shown, ranges)}"
    return Chart("quantization", "ranges", "Calibrated ranges", text, figure_of(axes))


def _clipped(clipped: Mapping[str, float]) -> Chart:
    shown = _most(clipped, clipped)
    axes = panel(34.0 * len(shown) + 56, bottom=40, top=4)
    rows_only(axes, len(shown))
    for place, (name, share) in enumerate(shown.items()):
        axes.barh(place + 0.1, 100 * share, 0.28, color=STAND_IN["bad"], alpha=0.85)
        row_label(axes, place + 0.18, name, f"{100 * share:.2g} %")
    axes.set_xlim(0, max(100 * share for share in shown.values()) * 1.02)
    axes.set_xlabel("values outside the range, %")
    told = "; ".join(f"{name} {100 * share:.2g} %" for name, share in shown.items())
    text = f"Share of the values that are clipped: {told}.{_cut(shown, clipped)}"
    return Chart("quantization", "saturation", "Saturation", text, figure_of(axes))


def _most(entries: Mapping[str, Any], weight: Mapping[str, float]) -> dict[str, Any]:
    """At most `MOST_ROWS` entries, those of the most weight, in their own order."""
    kept = sorted(entries, key=lambda name: -weight[name])[:MOST_ROWS]
    return {name: entry for name, entry in entries.items() if name in kept}


def _cut(shown: Mapping[str, Any], entries: Mapping[str, Any]) -> str:
    return f" The {len(shown)} largest of {len(entries)}." if len(shown) < len(entries) else ""
