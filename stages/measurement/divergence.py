"""Where an engine that does not compute what its graph says goes wrong first.

The graph is cut off behind a tensor, and what is left is built and run as the whole was, beside
ONNX Runtime, which runs it as it is written. Which tensor to cut at is found by halving what a
tensor that is off depends on: some seven builds for a hundred tensors. As `polygraphy debug` does
it, with one output in place of all: every tensor that is marked keeps TensorRT from fusing what is
around it.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import tempfile
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines import child, modules, onnxruntime
from stages.engines.base import BuildRequest, EngineModule, Images
from stages.engines.registry import ENGINES, QUANTIZED, EngineName
from stages.measurement.parity import relative_limit
from stages.results.engines import Divergence

if TYPE_CHECKING:
    import onnx

FLOATS = ("FLOAT", "FLOAT16")
MADE_OF_CONSTANTS = ("DequantizeLinear", "Constant")
QUANTIZED_RELATIVE = 0.1
"""Of the largest value of a tensor in INT8 or FP8: steps that were rounded the other way add up
from layer to layer, to a few of 127."""
IMAGES = 4
SECONDS = 900.0
"""For all builds of one engine."""


@dataclass(frozen=True)
class Search:
    """An engine of `backend` that was built from the graph `source`, images for it, and of several
    outputs the one that is off."""

    backend: str
    source: Path
    request: BuildRequest
    images: Images
    output: str | None = None


@dataclass(frozen=True)
class Place:
    """A tensor of a graph, the node that makes it, and its values per image."""

    tensor: str
    node: str
    values: int


def search_in_child(search: Search) -> Divergence | None:
    """`find`, in a process of its own: a builder that crashes must not take the engine with it.

    Raises ChildFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "search")
        asked.write_bytes(pickle.dumps(search))
        found = json.loads(child.answer(__name__, "tell", str(asked), seconds=SECONDS))
    return found and Divergence.model_validate(found)


def tell(asked: str) -> None:
    """The child of `search_in_child`."""
    search: Search = pickle.loads(Path(asked).read_bytes())
    found = find(search, modules.load(search.backend))
    print(json.dumps(found and found.model_dump(mode="json")))


def find(search: Search, module: EngineModule) -> Divergence | None:
    """The first tensor that is further off than the precision explains; None if none is when the
    graph is cut off behind it. Raises EngineError where a part cannot be built or run."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(search.source))
    if search.output is not None:  # what only others need is not before or behind its tensors
        model = _part(model, search.output)
    candidates = places(model)
    limit = _limit(search)
    apart: dict[int, float] = {}

    def is_off(index: int) -> bool:
        apart[index] = _difference(search, module, model, candidates[index])
        return not apart[index] <= limit

    first = first_off(dependencies(model, candidates), is_off)
    if first is None:
        return None
    place = candidates[first]
    return Divergence(
        tensor=place.tensor,
        node=place.node,
        max_relative_difference=apart[first] if np.isfinite(apart[first]) else None,
        builds=len(apart),
    )


def _limit(search: Search) -> float:
    """That of the whole engine's check; of quantized ones, whose labels are checked, our own."""
    precision = search.request.precision
    if precision in QUANTIZED:
        return QUANTIZED_RELATIVE
    return relative_limit(EngineName(search.backend, precision), search.request.tensorrt.tf32)


def first_off(behind: Sequence[Set[int]], is_off: Callable[[int], bool]) -> int | None:
    """A place that is off though none of those it depends on is, by halving; None if the last is
    not off. `behind` has for each place the numbers of those that it depends on.

    What depends on a place that is off is taken to be off as well.
    """
    if not behind or not is_off(len(behind) - 1):
        return None
    found = len(behind) - 1
    left = behind[found]
    while left:
        middle = sorted(left)[len(left) // 2]
        if is_off(middle):
            found, left = middle, left & behind[middle]
        else:
            left = left - behind[middle] - {middle}
    return found


def dependencies(model: onnx.ModelProto, places: Sequence[Place]) -> list[Set[int]]:
    """For each of `places` of `model` the numbers of those that its tensor depends on."""
    numbers = {place.tensor: number for number, place in enumerate(places)}
    known: dict[str, frozenset[int]] = {}
    found: list[Set[int]] = [frozenset()] * len(places)
    for node in model.graph.node:
        before = frozenset().union(*(known.get(name, frozenset()) for name in node.input))
        for name in node.output:
            known[name] = before
            if name in numbers:
                found[numbers[name]] = before
                known[name] = before | {numbers[name]}
    return found


def places(model: onnx.ModelProto) -> list[Place]:
    """The float tensors with images along their first axis that nodes of `model`, whose shapes are
    inferred, make; in order."""
    from onnx import TensorProto

    known = model.graph
    types = {each.name: each.type.tensor_type for each in (*known.value_info, *known.output)}
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    found = []
    for node in model.graph.node:
        kind = types.get(node.output[0])
        if (
            node.op_type in MADE_OF_CONSTANTS
            or kind is None
            or TensorProto.DataType.Name(kind.elem_type) not in FLOATS
        ):
            continue
        first, *rest = kind.shape.dim or [None]
        sizes = [side.dim_value for side in rest]
        if first is not None and sizes and all(sizes) and first == batch:
            found.append(Place(node.output[0], node.name or node.output[0], prod(sizes)))
    return found


def cut(model: onnx.ModelProto, place: Place) -> onnx.ModelProto:
    """What makes the tensor of `place`, which becomes the float32 output (N, values)."""
    from onnx import TensorProto, helper

    part = _part(model, place.tensor)
    inner = f"{place.tensor}.cut"
    for node in part.graph.node:
        for names in (node.input, node.output):
            names[:] = [inner if name == place.tensor else name for name in names]
    flat = f"{inner}.flat"
    part.graph.node.extend(
        [
            helper.make_node("Flatten", [inner], [flat], flat, axis=1),
            helper.make_node("Cast", [flat], [place.tensor], f"{flat}.cast", to=TensorProto.FLOAT),
        ]
    )
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    shape = [batch.dim_param or batch.dim_value, place.values]
    output = helper.make_tensor_value_info(place.tensor, TensorProto.FLOAT, shape)
    del part.graph.output[:], part.graph.value_info[:]
    part.graph.output.append(output)
    return part


def _part(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """What makes the `tensor`, which is the only output, with the inputs that it depends on."""
    from onnx import utils

    inputs = [value.name for value in model.graph.input]
    part: onnx.ModelProto = utils.Extractor(model).extract_model(inputs, [tensor])
    read = {name for node in part.graph.node for name in node.input} | {tensor}
    kept = [value for value in part.graph.input if value.name in read]
    del part.graph.input[:]
    part.graph.input.extend(kept)
    return part


def _fed(search: Search, read: Set[str]) -> tuple[Signature, Images]:
    """The signature with the inputs in `read` alone, and what they are fed with."""
    signature = search.request.signature
    fed = signature.by_name(search.images)
    kept = [own for own in signature.each_input if own.input_name in read]
    if len(kept) == 1:
        return kept[0], fed[kept[0].input_name]
    inputs = tuple(each for each in signature.inputs if each.name in read)
    return dataclasses.replace(signature, inputs=inputs), [fed[each.name] for each in inputs]


def _difference(
    search: Search, module: EngineModule, model: onnx.ModelProto, place: Place
) -> float:
    """How far the engine of a part is from its graph, as a share of the largest value."""
    import onnx

    part = cut(model, place)
    source, images = _fed(search, {value.name for value in part.graph.input})
    signature = dataclasses.replace(
        source,
        class_names=tuple(map(str, range(place.values))),
        output_name=place.tensor,
        output_shape=(),
        task="classification",
        heads=(),
    )
    wanted = onnxruntime.outputs(part, signature, images, as_written=True)[place.tensor]
    with tempfile.TemporaryDirectory() as folder:
        graph, file = Path(folder, "part.onnx"), Path(folder, "part.engine")
        onnx.save(part, graph)
        # TensorRT 8.6 reads off the typed graph beside its own what stays in float32.
        typed = search.source.with_name(ENGINES[search.backend].sources[search.request.precision])
        if typed != search.source and typed.is_file():
            Path(folder, typed.name).symlink_to(typed.absolute())
        module.build(graph, file, dataclasses.replace(search.request, signature=signature))
        with module.Runner(file, signature) as engine:
            got = engine.infer(images)
    largest = max(float(np.abs(wanted).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(got - wanted).max()) / largest
