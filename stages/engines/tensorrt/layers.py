"""The layers of a TensorRT engine, as TensorRT describes them.

On a GPU the engine inspector does, as JSON. Without one the builder of TensorRT-RTX logs the
message "Layers:"; of several compute capabilities it describes one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from stages.engines.layers import WIDTH
from stages.engines.registry import Precision
from stages.results.engines import LayerFacts

HEAD = "Layers:"
PRECISIONS = {
    **{"int8": "int8", "uint8": "uint8"},
    **{"half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32"},
    **{"bfloat16": "bf16", "bf16": "bf16", "fp8": "fp8"},
}
ELEMENT_WISE = ("kgen", "shape_call", "reformat", "noop", "pointwise", "pointwisev2")
"""Kinds whose work could all be fused into a matrix kernel."""


@dataclass(frozen=True)
class Kernel:
    """A layer as TensorRT describes it, with the precisions of its inputs, weights and outputs, and
    the names of the tensors that it reads and makes."""

    name: str
    nodes: tuple[str, ...]
    kind: str
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]
    tactic: str | None
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()

    @property
    def is_element_wise(self) -> bool:
        return self.kind.lower() in ELEMENT_WISE

    @property
    def executed(self) -> str:
        """What it computes in: in INT8 both the weights and an input are INT8.

        A residual that is added in the same kernel may be wider. Element-wise kernels compute in
        their widest input.
        """
        if not self.inputs:
            return _widest(self.weights)
        if self.is_element_wise:
            return _widest(self.inputs)
        narrowest = min(self.inputs, key=_width)
        return _widest((narrowest, *self.weights)) if self.weights else self.inputs[0]


def layers(kernels: Iterable[Kernel], requested: Mapping[str, Precision]) -> list[LayerFacts]:
    """The kernels with the requested precision of their nodes: see layers.requested.

    A node's request counts in the kernels that do its work: those that mention it and are not
    element-wise, unless only element-wise ones mention it.
    """
    found = [kernel for kernel in kernels if kernel.kind != "shape_call"]
    heavy = {node for kernel in found if not kernel.is_element_wise for node in kernel.nodes}
    made = []
    for kernel in found:
        asked: set[Precision] = {
            requested[node]
            for node in kernel.nodes
            if node in requested and not (kernel.is_element_wise and node in heavy)
        }
        narrowest = sorted(asked, key=_width)[0] if asked else None
        nodes = tuple(node for node in kernel.nodes if not asked or node in requested)
        made.append(
            LayerFacts(
                name=kernel.name,
                nodes=nodes,
                kind=kernel.kind,
                requested=narrowest,
                executed=kernel.executed,
                written=_widest(kernel.outputs) if kernel.outputs else None,
                tactic=kernel.tactic,
            )
        )
    return made


def from_message(text: str) -> list[Kernel]:
    """The kernels in the builder's message "Layers:", for the first optimisation profile."""
    lines = _of_first_profile([line for line in text.splitlines() if line.startswith("Name: ")])
    return [kernel for line in lines if (kernel := _from_line(line))]


def from_inspector(text: str) -> list[Kernel]:
    """The kernels in what trt.EngineInspector.get_engine_information gives as JSON, as above.

    Engines built without detailed profiling verbosity have names only: those are left out.
    """
    # Not strict: names of nodes hold control characters as they are.
    entries = json.loads(text, strict=False)["Layers"]
    described = {json.dumps(entry): entry for entry in entries if isinstance(entry, dict)}
    return [_from_entry(described[each]) for each in _of_first_profile(list(described))]


def _of_first_profile(described: list[str]) -> list[str]:
    """Without what is described again for every further profile.

    Those say so in some names of tensors, and the parts of the graph that TensorRT numbers
    ("_myl2_") are of one profile each.
    """
    parts = [re.search(r"_(myl\d+)_", each) for each in described]
    further = {
        part[1] for part, each in zip(parts, described, strict=True) if part and "[profile " in each
    }
    return [
        each
        for part, each in zip(parts, described, strict=True)
        if not (part[1] in further if part else "[profile " in each)
    ]


def _from_line(line: str) -> Kernel | None:
    head = re.match(r"Name: (.*?), LayerType: (\w+), Inputs: ", line)
    if head is None:
        return None
    body, _, nodes = line.partition("Metadata: ")
    inputs, constants, outputs = re.split(r"(?:Inputs|Constants|Outputs): ", body)[1:4]
    tactic = re.search(r"TacticName: (\S*),", body)
    return Kernel(
        head[1],
        _nodes(nodes),
        head[2],
        _precisions(re.findall(r"Datatype: (\w+)", inputs)),
        _weights(constants),
        _precisions(re.findall(r"Datatype: (\w+)", outputs)),
        (tactic[1] if tactic else None) or None,
        *(tuple(re.findall(r"\{ Name: (.*?), Dimensions: ", each)) for each in (inputs, outputs)),
    )


def _weights(constants: str) -> tuple[str, ...]:
    """The type of the largest constant that has two dimensions; others are scales and biases."""
    tensors = re.findall(r"Dimensions: \[([\d,]*)\].*?Datatype: (\w+)", constants)
    shapes = [([int(side) for side in shape.split(",") if side], kind) for shape, kind in tensors]
    matrices = [each for each in shapes if sum(side > 1 for side in each[0]) > 1]
    return _precisions([max(matrices, key=lambda each: prod(each[0]))[1]]) if matrices else ()


def _from_entry(entry: Mapping[str, Any]) -> Kernel:
    weights = entry.get("Weights")
    return Kernel(
        entry["Name"],
        # Without metadata, the name of a fused layer is made of its nodes' names.
        _nodes(entry.get("Metadata", "")) or tuple(entry["Name"].split(" + ")),
        str(entry.get("LayerType", "")),
        _types(entry.get("Inputs", ())),
        _precisions([weights.get("Type", "")] if weights else []),
        _types(entry.get("Outputs", ())),
        entry.get("TacticName"),
        *(
            tuple(str(each.get("Name", "")) for each in entry.get(side, ()))
            for side in ("Inputs", "Outputs")
        ),
    )


def _types(tensors: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    formats = (each.get("Datatype") or each.get("Format/Datatype") or "" for each in tensors)
    return _precisions(word for each in formats for word in re.findall(r"[A-Za-z]+\d*", str(each)))


def _nodes(metadata: str) -> tuple[str, ...]:
    """In its order, each once."""
    names = re.findall(r"\[ONNX Layer: (.*?)\](?=[\x1e\x1f]|\[ONNX Layer: |\s*$)", metadata)
    return tuple(dict.fromkeys(names))


def _precisions(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(PRECISIONS[word.lower()] for word in words if word.lower() in PRECISIONS)


def _width(precision: str) -> int:
    return WIDTH[precision]


def _widest(precisions: tuple[str, ...]) -> str:
    return max(precisions, key=_width) if precisions else "unknown"
