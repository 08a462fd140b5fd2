"""The kernels of an engine and the tensors between them, for Graphviz: `dot -Tsvg FILE`.

As TREx of NVIDIA draws them: a box for every kernel with what it computes in, dashed where it does
nothing but move or convert.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from stages.engines.tensorrt.kernel_names import only_moves
from stages.engines.tensorrt.layers import Kernel

FILLS = {
    "int8": "#f6d5bd",
    "fp8": "#efe0b0",
    "fp16": "#ddd0ee",
    "bf16": "#ecd0e3",
    "fp32": "#cddff2",
}
MOST_NODES = 3
"""ONNX nodes that a box names."""


def dot(kernels: Sequence[Kernel]) -> str:
    """A directed graph in Graphviz' language."""
    lines = ["digraph engine {", "  node [shape=box, style=filled, fontname=sans];"]
    lines += _boxes(kernels)
    lines += _edges(kernels)
    return "\n".join([*lines, "}", ""])


def _boxes(kernels: Iterable[Kernel]) -> Iterator[str]:
    for number, kernel in enumerate(kernels):
        more = "..." if len(kernel.nodes) > MOST_NODES else ""
        words = "\n".join([kernel.kind, kernel.executed, *kernel.nodes[:MOST_NODES], more]).strip()
        fill = FILLS.get(kernel.executed, "#eeeeee")
        style = "filled,dashed" if only_moves(kernel.name, kernel.kind) else "filled"
        yield f'  k{number} [label={_quoted(words)}, fillcolor="{fill}", style="{style}"];'


def _edges(kernels: Sequence[Kernel]) -> Iterator[str]:
    """From the kernel that makes a tensor to those that read it; what none makes is an input."""
    maker = {name: f"k{number}" for number, each in enumerate(kernels) for name in each.makes}
    for number, kernel in enumerate(kernels):
        for name in dict.fromkeys(kernel.reads):
            yield f"  {maker.get(name) or _quoted(name)} -> k{number};"
    read = {name for kernel in kernels for name in kernel.reads}
    for name in [each for each in maker if each not in read]:
        yield f"  {maker[name]} -> {_quoted(name)};"


def _quoted(text: str) -> str:
    # JSON's escapes are those of Graphviz' strings, as far as names go.
    return json.dumps(text, ensure_ascii=False)
