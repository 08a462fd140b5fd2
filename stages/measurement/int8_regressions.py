"""Why an INT8 engine is slower than its FP16 twin: both engines' layers, timed one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stages import progress
from stages.artifacts.signature import Signature
from stages.engines import records
from stages.engines.base import BuildReport, Images
from stages.engines.registry import EngineName
from stages.errors import EngineError
from stages.results.engines import EngineResult, Int8Regression, LayerFacts, SlowerNode

CALLS = 50
OTHER = "other layers"
"""Everything but convolutions and matrix products, such as conversions between precisions."""


def explain(
    results: Sequence[EngineResult],
    reports: Mapping[EngineName, BuildReport],
    folder: Path,
    signature: Signature,
    images: Images,
) -> tuple[Int8Regression, ...]:
    """For every runtime whose INT8 engine is slower than its FP16 engine, by how much and where.

    `images` are one batch. Empty where INT8 is the faster one, or no runtime has both. Where layers
    cannot be timed only the engines' times are known: the engines themselves are whole by now.
    """
    timed = {each.name: each for each in results if each.latency}
    found = []
    for name, int8 in timed.items():
        fp16 = timed.get(EngineName(name.backend, "fp16"))
        if name.precision != "int8" or fp16 is None:
            continue
        int8_ms, fp16_ms = int8.latency[0].p50_ms, fp16.latency[0].p50_ms
        if int8_ms > fp16_ms:
            try:
                nodes = [
                    _node_ms(each, reports, folder, signature, images) for each in (int8, fp16)
                ]
            except EngineError as error:
                progress.report(f"{name.backend}: its layers cannot be timed: {error.message}")
                nodes = [{}]
            found.append(
                Int8Regression(
                    backend=name.backend,
                    int8_ms=int8_ms,
                    fp16_ms=fp16_ms,
                    layers=slower_nodes(*nodes) if all(nodes) else (),
                )
            )
    return tuple(found)


def describe(found: Int8Regression) -> str:
    """One regression in a sentence."""
    worst = ", ".join(each.node for each in found.layers[:3])
    return (
        f"{found.backend}: INT8 is slower than FP16, {found.int8_ms:.4f} ms against "
        f"{found.fp16_ms:.4f} ms" + (f", most of all in {worst}" if worst else "")
    )


def milliseconds_by_node(
    layers: Sequence[LayerFacts], milliseconds: Mapping[str, float]
) -> dict[str, float]:
    """Time of every ONNX convolution and matrix product, and of all else as OTHER.

    `milliseconds` are those of the layers by name. A layer that does the work of several nodes
    counts for them together.
    """
    names = {layer.name: " + ".join(layer.nodes) for layer in layers if layer.requested}
    sums: dict[str, float] = {}
    for layer, ms in milliseconds.items():
        node = names.get(layer, OTHER)
        sums[node] = sums.get(node, 0.0) + ms
    return sums


def slower_nodes(
    int8_ms: Mapping[str, float], fp16_ms: Mapping[str, float]
) -> tuple[SlowerNode, ...]:
    """The nodes that take longer in INT8, the one that loses most first."""
    slower = [
        SlowerNode(node=node, int8_ms=ms, fp16_ms=fp16_ms[node])
        for node, ms in int8_ms.items()
        if node in fp16_ms and ms > fp16_ms[node]
    ]
    return tuple(sorted(slower, key=lambda each: each.fp16_ms - each.int8_ms))


def _node_ms(
    result: EngineResult,
    reports: Mapping[EngineName, BuildReport],
    folder: Path,
    signature: Signature,
    images: Images,
) -> dict[str, float]:
    """Milliseconds by node of one engine; empty where its runtime does not time layers."""
    with records.runner(result, folder, signature, 1) as engine:
        times = engine.layer_milliseconds(images, CALLS)
    layers = reports.get(result.name, BuildReport()).layers
    return milliseconds_by_node(layers, times) if times else {}
