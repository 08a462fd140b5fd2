"""Why an INT8 engine is slower than its FP16 twin: both engines' layers, timed one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.artifacts.signature import Signature
from stages.engines import records
from stages.engines.base import Account
from stages.engines.layers import Layer
from stages.engines.records import Entry

CALLS = 50
OTHER = "other layers"
"""Whatever is no convolution or matrix product, as the changes between precisions."""


def explain(
    table: Sequence[Mapping[str, Any]],
    accounts: Mapping[str, Account],
    folder: Path,
    signature: Signature,
    images: Any,
) -> list[dict[str, Any]]:
    """For every runtime whose INT8 engine is slower than its FP16 engine, by how much and where.

    `table` has the engines of a record with their latency, `images` are one batch. Empty where
    INT8 is the faster one, or no runtime has both. Raises EngineError.
    """
    ran = {(row["backend"], row["precision"]): row for row in table if row["latency"]}
    found = []
    for backend, precision in ran:
        pair = [ran.get((backend, each)) for each in ("int8", "fp16")]
        if precision != "int8" or not all(pair):
            continue
        int8_ms, fp16_ms = (row["latency"][0]["p50_ms"] for row in pair if row)
        if int8_ms > fp16_ms:
            times = [_by_node(row, accounts, folder, signature, images) for row in pair if row]
            where = slower_nodes(*times) if all(times) else []
            found.append(
                {"backend": backend, "int8_ms": int8_ms, "fp16_ms": fp16_ms, "layers": where}
            )
    return found


def sentence(found: Mapping[str, Any]) -> str:
    """One row of `explain` in words."""
    worst = ", ".join(each["node"] for each in found["layers"][:3])
    return (
        f"{found['backend']}: INT8 is slower than FP16, {found['int8_ms']:.4f} ms against "
        f"{found['fp16_ms']:.4f} ms" + (f", most of all in {worst}" if worst else "")
    )


def milliseconds_by_node(
    layers: Sequence[Layer], milliseconds: Mapping[str, float]
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
) -> list[dict[str, Any]]:
    """The nodes that take longer in INT8, the one that loses most first."""
    lost = [
        {"node": node, "int8_ms": ms, "fp16_ms": fp16_ms[node]}
        for node, ms in int8_ms.items()
        if node in fp16_ms and ms > fp16_ms[node]
    ]
    return sorted(lost, key=lambda each: each["fp16_ms"] - each["int8_ms"])


def _by_node(
    row: Mapping[str, Any],
    accounts: Mapping[str, Account],
    folder: Path,
    signature: Signature,
    images: Any,
) -> dict[str, float]:
    """Of one engine; empty where its runtime does not time layers."""
    entry = Entry(row["backend"], row["precision"], row["file"])
    with records.runner(entry, folder, signature, 1) as engine:
        times = engine.layer_milliseconds(images, CALLS)
    if not times:
        return {}
    return milliseconds_by_node(accounts.get(entry.name, Account()).layers, times)
