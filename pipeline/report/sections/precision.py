"""What every layer of an engine was asked to run in, and what it runs in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.report.tables import Grid
from pipeline.results import comparability, units
from pipeline.results.comparability import Report
from stages.engines.registry import precision_label

Layer = Mapping[str, Any]

WORDS = {
    "bf16": ("bf16", "bfloat16"),
    "int8": ("int8", "s8", "u8", "i8"),
    "fp16": ("fp16", "f16", "float16", "half"),
    "fp32": ("fp32", "f32", "float"),
}
"""What runtimes call the precisions; a word that is part of another's comes after it."""


def by_engine(report: Report) -> dict[str, list[Layer]]:
    """The layers of every engine that tells of them, by its name as in "litert.int8"."""
    build = comparability.stage_named(report, "build")
    found = (build["details"].get("layers") if build else None) or {}
    return {name: list(layers) for name, layers in found.items() if layers}


def family(precision: str | None) -> str:
    """The precision that a runtime's own word stands for: "INT8", "s8" -> "int8"; None -> "any"."""
    if not precision:
        return "any"
    word = precision.lower()
    return next((name for name, parts in WORDS.items() if any(map(word.count, parts))), word)


def differs(layer: Layer) -> bool:
    """Whether a layer runs in something else than was requested."""
    requested = family(layer["requested"])
    return requested != "any" and requested != family(layer["executed"])


def layer_grid(report: Report) -> Grid:
    """Every layer of every engine; those that run in another precision first."""
    rows = [
        (
            name,
            str(layer["name"]),
            layer.get("kind") or units.UNKNOWN,
            precision_label(layer["requested"]) if layer["requested"] else "any",
            layer["executed"] or units.UNKNOWN,
            layer.get("tactic") or units.UNKNOWN,
        )
        for name, layer in _ordered(report)
    ]
    columns = ("engine", "layer", "kind", "requested", "executed", "tactic")
    caption = "Precision that every layer was asked for and runs in"
    return Grid("Precision by layer", caption, columns, tuple(rows), tuple(_notes(report)))


def _ordered(report: Report) -> Iterator[tuple[str, Layer]]:
    for name, layers in by_engine(report).items():
        for layer in sorted(layers, key=lambda each: not differs(each)):
            yield name, layer


def _notes(report: Report) -> Iterator[str]:
    for name, layers in by_engine(report).items():
        other = sum(map(differs, layers))
        if other:
            yield f"{name}: {other} of {len(layers)} layers run in another precision than asked."
