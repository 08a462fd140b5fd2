"""Look-ups in an ONNX graph: producers, consumers and constants."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]


class Index:
    """Producers, consumers and constants of a graph, as it was when the index was made."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.producer = {name: node for node in graph.node for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def array(self, name: str) -> Array:
        """Values of the constant `name`."""
        return numpy_helper.to_array(self.constants[name])

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """The node that reads `name`, if exactly one does, and nobody outside of the graph."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def attribute(node: onnx.NodeProto, name: str) -> object:
    """Value of attribute `name`, or None."""
    for candidate in node.attribute:
        if candidate.name == name:
            return onnx.helper.get_attribute_value(candidate)
    return None


def set_constant(graph: onnx.GraphProto, name: str, values: Array) -> str:
    """Add the initializer `name`, replacing one of that name. Scalars stay 0-dimensional."""
    _remove_initializers(graph, {name})
    # Not through np.ascontiguousarray, which makes scalars 1-d: ONNX Runtime wants scalar scales.
    graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initializers that no output needs."""
    needed = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    _remove_initializers(graph, {tensor.name for tensor in graph.initializer} - needed)


def _remove_initializers(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """By position: `remove` would compare the values of every tensor on the way."""
    for position in reversed(range(len(graph.initializer))):
        if graph.initializer[position].name in names:
            del graph.initializer[position]


def sort(graph: onnx.GraphProto) -> None:
    """Put the nodes into an order in which every tensor is made before it is read."""
    known = {value.name for value in graph.input} | {t.name for t in graph.initializer} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            raise ValueError("the graph has a cycle or an input that nothing makes")
        for node in ready:
            known.update(node.output)
        ordered += ready
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    del graph.node[:]
    graph.node.extend(ordered)
