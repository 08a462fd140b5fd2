"""The precision that every layer of an engine was requested in, and the one that it runs in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.report.svg import (
    QUIET,
    SMALL,
    STAND_IN,
    Chart,
    figure_of,
    panel,
    row_label,
    rows_only,
)
from pipeline.report.tables import Table
from pipeline.results import units
from pipeline.results.model import Report
from stages.engines.registry import QUANTIZED, EngineName, precision_label
from stages.engines.tensorrt.kernel_names import only_moves
from stages.results.conversion import ConvertDetails
from stages.results.engines import BuildDetails, LayerFacts
from stages.results.quantization import QuantizeDetails

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pipeline.results.evidence import Evidence

WORDS = {
    "fp8": ("fp8", "f8"),
    "bf16": ("bf16", "bfloat16"),
    "int8": ("int8", "s8", "u8", "i8"),
    "fp16": ("fp16", "f16", "float16", "half"),
    "fp32": ("fp32", "f32", "float"),
}
"""What runtimes call the precisions; a word that is part of another's comes after it."""
ORDER = ("int8", "fp8", "fp16", "bf16", "fp32")
FLOATS = ("bf16", "fp16", "fp32")
FLOAT16_END = 65504
"""The largest finite float16."""
MOST_NAMES = 5
"""Layers that a sentence names."""

Layers = Mapping[str, Sequence[LayerFacts]]


def by_engine(report: Report) -> Layers:
    """The layers of every engine that lists them, by its name as in "litert.int8"."""
    details = report.details(BuildDetails)
    return {name: layers for name, layers in details.layers.items() if layers} if details else {}


def family(precision: str | None) -> str:
    """The precision that a runtime's own word stands for: "INT8", "s8" -> "int8"; None -> "any"."""
    if not precision:
        return "any"
    word = precision.lower()
    return next((name for name, parts in WORDS.items() if any(map(word.count, parts))), word)


def differs(layer: LayerFacts) -> bool:
    """Whether a layer runs in another precision than requested."""
    requested = family(layer.requested)
    return requested != "any" and requested != family(layer.executed)


def in_float(report: Report) -> Iterator[str]:
    """Sentences that name the convolutions and Dense layers in float inside quantized engines."""
    quantize = report.details(QuantizeDetails)
    kept = set(quantize.float_layers) if quantize else set()
    for name, layers in by_engine(report).items():
        engine, whys = EngineName.parse(name), dict[str, list[str]]()
        if engine.precision not in QUANTIZED:
            continue
        for layer in filter(_is_float, layers):
            node = layer.nodes[0] if layer.nodes else layer.name
            # A shared layer is called "name:2" where it is called again.
            why = "kept so by quantize" if node.partition(":")[0] in kept else layer.reason or ""
            whys.setdefault(why, []).append(node)
        for why, nodes in whys.items():
            once = list(dict.fromkeys(nodes))
            yield f"{engine.words} computes {_first(once)} in float{why and f': {why}'}."


def requantized(report: Report) -> Iterator[str]:
    """Where kernels of eight bits in a quantized engine write float, and others round it again."""
    details = report.details(BuildDetails)
    for name, layers in by_engine(report).items():
        engine = EngineName.parse(name)
        own, label = engine.precision, precision_label(engine.precision)
        narrow = [each for each in layers if each.requested and family(each.executed) == own]
        wide = [each for each in narrow if family(each.written) in FLOATS]
        again = [
            each
            for each in layers
            if family(each.executed) in FLOATS and family(each.written) == own
        ]
        if own in QUANTIZED and wide and again and details:
            yield (
                f"{engine.words}: {len(wide)} of {len(narrow)} {label} convolutions and matrix "
                f"products write float, and kernels that read float and write {label} number "
                f"{len(again)}{_beside_fp16(engine, details.kernels)}."
            )


def moving(report: Report) -> Iterator[str]:
    """How many kernels of an engine, where all are known, only move or convert values."""
    details = report.details(BuildDetails)
    for name, layers in by_engine(report).items():
        whole = details.kernels.get(name) if details else None
        moves = sum(only_moves(layer.name, layer.kind) for layer in layers)
        if whole and moves:
            yield (
                f"{EngineName.parse(name).words}: {moves} of {whole} kernels "
                f"({moves / whole:.0%}) only move values or convert them to another type."
            )


def _beside_fp16(engine: EngineName, kernels: Mapping[str, int]) -> str:
    counts = [kernels.get(f"{engine.backend}.{each}") for each in (engine.precision, "fp16")]
    return f"; it starts {counts[0]} kernels, FP16 {counts[1]}" if all(counts) else ""


def in_float32(report: Report) -> Iterator[str]:
    """Sentences that name the layers of float16 graphs that float16 could not hold."""
    convert = report.details(ConvertDetails)
    for file, layers in convert.float32_layers.items() if convert else ():
        peaks = [layer.peak for layer in layers]
        largest = "infinity" if None in peaks else f"{max(filter(None, peaks)):,.0f}"
        yield (
            f"{file} computes {_first([layer.layer for layer in layers])} in float32: values up to "
            f"{largest} occur there, and float16 ends at {FLOAT16_END:,}."
        )


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}"


def _is_float(layer: LayerFacts) -> bool:
    """A convolution or matrix product (of others no precision is requested) in float."""
    return layer.requested is not None and family(layer.executed) in FLOATS


def tables(report: Report) -> Iterator[Table]:
    """Every layer of every engine."""
    yield layer_table(report)


def layer_table(report: Report) -> Table:
    """Every layer of every engine; those that run in another precision first."""
    engines = by_engine(report)
    return Table(
        "Precision by layer",
        "Precision that was requested for every layer, and the one it runs in",
        ("engine", "layer", "kind", "requested", "executed", "tactic"),
        tuple(
            (
                name,
                layer.name,
                layer.kind or units.UNKNOWN,
                precision_label(layer.requested) if layer.requested else "any",
                layer.executed or units.UNKNOWN,
                layer.tactic or units.UNKNOWN,
            )
            for name, layers in engines.items()
            for layer in sorted(layers, key=lambda each: not differs(each))
        ),
        tuple(
            f"{name}: {other} of {len(layers)} layers run in another precision than requested."
            for name, layers in engines.items()
            if (other := sum(map(differs, layers)))
        ),
        folded="with charts",
    )


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """Requested against executed precision: two bars per engine that lists its layers."""
    if engines := by_engine(report):
        yield _shares(engines)


def _shares(engines: Layers) -> Chart:
    axes = panel(58.0 * len(engines) + 40, bottom=36, top=2)
    rows_only(axes, len(engines))
    parts = []
    for place, (name, layers) in enumerate(engines.items()):
        row_label(axes, place + 0.12, name, f"{len(layers)} layers")
        requested = Counter(family(layer.requested) for layer in layers)
        executed = Counter(family(layer.executed) for layer in layers)
        _bar(axes, place, requested, 0.45)
        _bar(axes, place + 0.3, executed, 0.9)
        for key, counts in (("requested", requested), ("executed", executed)):
            words = ", ".join(f"{count} {precision_label(each)}" for each, count in counts.items())
            parts.append(f"{name} {key}: {words}")
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the layers, %; above: requested, below: executed")
    text = f"{'; '.join(parts)}."
    return Chart("precision", "Requested and executed precision", text, figure_of(axes))


def _bar(axes: Axes, row: float, counts: Counter[str], alpha: float) -> None:
    left = 0.0
    for name in [*ORDER, *sorted(set(counts) - set(ORDER))]:
        share = 100 * counts[name] / counts.total()
        if not share:
            continue
        colour = STAND_IN.get(name, QUIET) if name in ORDER else STAND_IN["line"]
        axes.barh(row, share, 0.24, left, color=colour, alpha=alpha)
        if share > 14:
            text = f"{precision_label(name)} {counts[name]}"
            axes.text(left + 1.5, row + 0.01, text, va="center", fontsize=SMALL - 1)
        left += share
