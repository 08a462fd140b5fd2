"""What quantization did, and whether every step from Keras to the engines agrees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.report.tables import Grid
from pipeline.results import units
from pipeline.results.comparability import Report, stage_named


def rungs(report: Report) -> list[Mapping[str, Any]]:
    """The parity ladder from Keras through the graphs to the engines."""
    return [rung for stage in ("convert", "build") for rung in details(report, stage, "ladder")]


def ladder_grid(report: Report) -> Grid:
    """The parity ladder: Keras, graphs and engines, each against the rung it stands on."""
    found = rungs(report)
    columns = ("rung", "against", "same labels", "max difference", "mean difference", "agrees")
    rows = tuple(
        (
            rung["rung"],
            rung["against"],
            units.percent(rung["top1_agreement"]),
            f"{rung['max_absolute_difference']:.2g}",
            f"{rung['mean_absolute_difference']:.2g}",
            "yes" if rung["holds"] else "no",
        )
        for rung in found
    )
    caption = "The same test images all the way; differences of logits"
    return Grid("Parity", caption, columns, rows, tuple(_ladder_notes(report, found)))


def _ladder_notes(report: Report, found: list[Mapping[str, Any]]) -> Iterator[str]:
    broken = [rung["rung"] for rung in found if not rung["holds"]]
    if broken:
        yield f"The first rung that does not agree: {broken[0]}."
    layers = details(report, "convert", "layer_parity")
    if layers:
        yield (
            f"Layer by layer, each fed with the engine's own values: of {layers['elements']:,} "
            f"quantized values {layers['off_by_one']:,} are off by one step and "
            f"{layers['off_by_more']:,} by more."
        )
    kernels = details(report, "build", "onnxruntime_int8_kernels")
    if kernels:
        yield (
            f"ONNX Runtime runs {kernels['integer']} of its "
            f"{kernels['integer'] + kernels['float']} kernels in integers."
        )


def range_grid(report: Report) -> Grid:
    """The range of every quantized tensor, and what of the calibration images lay outside."""
    rows = tuple(
        (
            name,
            f"{found['amax']:.4g}",
            "both" if found["signed"] else "positive",
            f"{100 * found['saturated_share']:.3f} %",
        )
        for name, found in (details(report, "quantize", "ranges") or {}).items()
    )
    columns = ("tensor", "range", "signs", "outside")
    notes = tuple(_calibration_notes(report))
    return Grid("Quantization", "Activation ranges, by the layer they follow", columns, rows, notes)


def _calibration_notes(report: Report) -> Iterator[str]:
    calibration = details(report, "quantize", "calibration")
    if calibration:
        tried = ", ".join(
            f"{method} {units.percent(top1)}"
            for method, top1 in calibration["validation_top1"].items()
        )
        yield (
            f"Calibrated by {calibration['method']} on {calibration['samples']} images; "
            f"accuracy on the validation images: {tried}."
        )
    kept = details(report, "quantize", "kept")
    if kept:
        yield f"Kept: the {kept} model."
    in_float = details(report, "quantize", "float_layers")
    if in_float:
        yield f"Left in float: {', '.join(in_float)}."


def details(report: Report, stage: str, key: str) -> Any:
    """One entry of a stage's details; [] without it."""
    found = stage_named(report, stage)
    return (found["details"].get(key) if found else None) or []
