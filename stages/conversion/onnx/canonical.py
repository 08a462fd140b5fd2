"""The same graph in the same bytes: order and names that depend on its structure alone.

tf2onnx numbers what it makes over the whole life of the process, and its passes go over sets, whose
order differs between processes. One other byte in a file makes stale all that was made from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import onnx

from stages.conversion.onnx.graph import Index

SCOPE = re.compile(r"layer\..+?\.(?:_\d+)?/")
NUMBER = re.compile(r"__\d+")


def canonicalize(model: onnx.ModelProto) -> None:
    """Order nodes, their attributes and initializers, in place, and name them anew.

    Nodes are ordered depth first from the outputs. Inputs and outputs of the graph keep their
    names. Nodes and tensors keep those of their layers without the numbers of tf2onnx, constants
    are named after their first reader: of equal ones tf2onnx keeps any.
    """
    graph, index = model.graph, Index(model.graph)
    constants = index.constants
    ends = [value.name for value in (*graph.input, *graph.output)]
    nodes, wished = _depth_first(graph), {name: name for name in ends}
    for node in nodes:
        for position, name in enumerate(node.input):
            reader = next((each for each in (node.name, *node.output) if _scope(each)), None)
            is_constant = name in constants and reader is not None
            wished.setdefault(name, f"{reader}.input{position}" if is_constant else name)
        wished |= {name: name for name in node.output}
    called = {node.name: node.name for node in nodes}
    for node in nodes:
        # tf2onnx calls one that several nodes share after any of these, or not at all.
        (result, *_), readers = node.output, index.consumers.get(node.output[0], [])
        if node.op_type == "DequantizeLinear" and len(readers) > 1 and result not in ends:
            first = next(each for each in nodes if result in each.input)
            called[node.name] = f"{first.name}_{node.op_type}"
            wished[result] = f"{called[node.name]}:0"
    tensors, names = _numbered(wished, ends), _numbered(called)
    for node in nodes:
        node.name = names[node.name]
        node.input[:] = [tensors[name] for name in node.input]
        node.output[:] = [tensors[name] for name in node.output]
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        del node.attribute[:]
        node.attribute.extend(attributes)
    initializers = [constants[name] for name in wished if name in constants]
    for tensor in initializers:
        tensor.name = tensors[tensor.name]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)


def _depth_first(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Copies of the nodes that the outputs need, each behind all that it reads."""
    producer, done = Index(graph).producer, dict[str, onnx.NodeProto]()
    waiting = [value.name for value in reversed(graph.output)]
    while waiting:
        node = producer.get(waiting[-1])
        if node is None or node.output[0] in done:
            waiting.pop()
            continue
        before = [name for name in node.input if name in producer]
        missing = [name for name in before if producer[name].output[0] not in done]
        if missing:
            waiting += reversed(missing)
        else:
            done[node.output[0]] = onnx.NodeProto()
            done[node.output[0]].CopyFrom(node)
            waiting.pop()
    return list(done.values())


def _numbered(wished: Mapping[str, str], kept: Iterable[str] = ()) -> dict[str, str]:
    """Old name -> the wished one without numbers; a second "x" is called "x__2"."""
    given = {name: name for name in ("", *kept)}
    taken = set(given)
    for old, wish in wished.items():
        if old in given:
            continue
        scope = _scope(wish)
        base = new = scope + NUMBER.sub("", wish.removeprefix(scope))
        number = 1
        while new in taken:
            number += 1
            new = f"{base}__{number}"
        given[old] = new
        taken.add(new)
    return given


def _scope(name: str) -> str:
    """How `name` begins, if it says to which layer a node belongs: keras_graph/tracing.py."""
    found = SCOPE.match(name)
    return found[0] if found else ""
