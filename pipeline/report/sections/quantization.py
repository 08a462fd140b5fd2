"""What quantization did: the ranges that INT8 has to cover, and how much lies outside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from pipeline.report.sections.stages import metric
from pipeline.report.svg import STAND_IN, Chart, figure_of, panel, row_label, rows_only
from pipeline.report.tables import Table
from pipeline.results import units
from pipeline.results.model import Report
from stages.results.quantization import QuantizeDetails, RangeFacts

if TYPE_CHECKING:
    from pipeline.results.evidence import Evidence

MOST_ROWS = 24

Entry = TypeVar("Entry")


def tables(report: Report) -> Iterator[Table]:
    """The range of every quantized tensor."""
    yield range_table(report)


def range_table(report: Report) -> Table:
    """The range of every quantized tensor, and what of the calibration images lay outside."""
    details = report.details(QuantizeDetails) or QuantizeDetails()
    methods = details.calibration.methods if details.calibration else {}
    return Table(
        "Quantization",
        "Activation ranges, by the layer they follow",
        ("tensor", "range", "found by", "outside"),
        tuple(
            (
                name,
                f"{facts.low:.4g} to {facts.high:.4g}",
                methods.get(name, "-"),
                f"{100 * facts.saturated_share:.3f} %",
            )
            for name, facts in details.ranges.items()
        ),
        tuple(_notes(details, metric(report))),
        folded="with charts",
    )


def _notes(details: QuantizeDetails, metric: str) -> Iterator[str]:
    if calibration := details.calibration:
        tried = ", ".join(
            f"{method} {units.percent(top1)}"
            for method, top1 in calibration.validation_top1.items()
        )
        by = (
            "one method per tensor"
            if len(set(calibration.methods.values())) > 1
            else (calibration.method)
        )
        yield (
            f"Calibrated by {by} on {calibration.samples} images; "
            f"{metric} on the validation images: {tried}."
        )
    if correction := details.bias_correction:
        yield (
            f"Biases {'corrected' if correction.is_kept else 'not corrected'}: on the validation "
            f"images {units.percent(correction.validation_top1_before)} without correction, "
            f"{units.percent(correction.validation_top1_after)} with it."
        )
    if kept := _kept(details):
        yield kept
    if details.float_layers:
        yield f"Left in float: {', '.join(details.float_layers)}."


def _kept(details: QuantizeDetails) -> str | None:
    """Which weights won, with the validation accuracies that they won by."""
    calibrated, trained = details.calibrated_validation_top1, details.trained_validation_top1
    if details.kept is None or calibrated is None:
        return None
    if trained is None:
        return f"No fine-tune: {units.percent(calibrated)} on the validation images as calibrated."
    kept = "after the fine-tune" if details.kept == "trained" else "as calibrated"
    return (
        f"Kept: the weights {kept}. On the validation images {units.percent(trained)} after the "
        f"fine-tune, {units.percent(calibrated)} as calibrated."
    )


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """The range of every tensor, and what is clipped by it."""
    details = report.details(QuantizeDetails)
    if details is None or not details.ranges:
        return
    yield _ranges(details.ranges)
    clipped = clipped_shares(details)
    if any(clipped.values()):
        yield _clipped(clipped)


def clipped_shares(details: QuantizeDetails) -> dict[str, float]:
    """Share of the calibration images' values outside the range, by tensor.

    Of the final weights and ranges where the record has that, else as calibrated.
    """
    calibrated = {name: facts.saturated_share for name, facts in details.ranges.items()}
    final = {name: facts.samples_clipped_share for name, facts in details.saturation.items()}
    return {**calibrated, **final}


def _ranges(ranges: Mapping[str, RangeFacts]) -> Chart:
    """Bars from the lowest to the highest value that can be represented, in layer order."""
    shown = _largest(ranges, {name: facts.high - facts.low for name, facts in ranges.items()})
    axes = panel(34.0 * len(shown) + 56, bottom=40, top=4)
    rows_only(axes, len(shown))
    parts = []
    for place, (name, facts) in enumerate(shown.items()):
        width, limits = facts.high - facts.low, f"{facts.low:.3g} to {facts.high:.3g}"
        axes.barh(place + 0.1, width, 0.28, facts.low, color=STAND_IN["int8"], alpha=0.85)
        row_label(axes, place + 0.18, name, limits)
        parts.append(f"{name} {limits}")
    axes.set_xlabel("value of the activation")
    text = f"Range of each quantized tensor: {'; '.join(parts)}.{_cut(shown, ranges)}"
    return Chart("ranges", "Calibrated ranges", text, figure_of(axes))


def _clipped(clipped: Mapping[str, float]) -> Chart:
    shown = _largest(clipped, clipped)
    axes = panel(34.0 * len(shown) + 56, bottom=40, top=4)
    rows_only(axes, len(shown))
    for place, (name, share) in enumerate(shown.items()):
        axes.barh(place + 0.1, 100 * share, 0.28, color=STAND_IN["bad"], alpha=0.85)
        row_label(axes, place + 0.18, name, f"{100 * share:.2g} %")
    axes.set_xlim(0, max(100 * share for share in shown.values()) * 1.02)
    axes.set_xlabel("values outside the range, %")
    parts = "; ".join(f"{name} {100 * share:.2g} %" for name, share in shown.items())
    text = f"Share of the values that are clipped: {parts}.{_cut(shown, clipped)}"
    return Chart("saturation", "Saturation", text, figure_of(axes))


def _largest(entries: Mapping[str, Entry], weight: Mapping[str, float]) -> dict[str, Entry]:
    """At most `MOST_ROWS` entries, those of the most weight, in their own order."""
    kept = sorted(entries, key=lambda name: -weight[name])[:MOST_ROWS]
    return {name: entry for name, entry in entries.items() if name in kept}


def _cut(shown: Mapping[str, Entry], entries: Mapping[str, Entry]) -> str:
    return f" The {len(shown)} largest of {len(entries)}." if len(shown) < len(entries) else ""
