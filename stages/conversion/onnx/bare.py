"""Bare graphs: without the values of large constants, which nothing needs that looks at types and
shapes alone.

tf2onnx, onnxslim and onnx's own checker, shape inference and version converter copy all of a graph
several times each. In a bare one a large constant has a key in the place of its values, which says
whose they are; who asks for them all the same gets a ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper, version_converter

from stages.conversion.onnx.graph import Array
from stages.errors import ConversionError

LARGE = 2**14
"""Elements of a constant that is left out: more than any scale, axis or shape has."""


def without_values(name: str, dims: Sequence[int], data_type: int, key: str) -> TensorProto:
    """A constant with `key` in the place of its LARGE or more values."""
    # In their place and not in a field of its own: two of one shape must not pass for equal.
    return TensorProto(name=name, dims=dims, data_type=data_type, raw_data=key.encode())


def key_of(tensor: TensorProto) -> str | None:
    """The key of a constant without values, None for any other."""
    is_bare = math.prod(tensor.dims) >= LARGE and tensor.ByteSize() < LARGE // 2
    return tensor.raw_data.decode() if is_bare else None


def bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` without the values of large constants, whose names are the keys."""
    copy = onnx.ModelProto()
    _copy_fields(model, copy, but="graph")
    _copy_fields(model.graph, copy.graph, but="initializer")
    copy.graph.initializer.extend(
        without_values(each.name, each.dims, each.data_type, each.name)
        if _has_large_values(each)
        else each
        for each in model.graph.initializer
    )
    return copy


def _has_large_values(tensor: TensorProto) -> bool:
    is_large = math.prod(tensor.dims) >= LARGE and tensor.HasField("raw_data")
    return is_large and key_of(tensor) is None


def _copy_fields(source: Any, target: Any, but: str) -> None:
    """Not by CopyFrom: protobuf keeps the memory of what is deleted afterwards."""
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


def fill(model: onnx.ModelProto, values: Callable[[str], Array]) -> None:
    """Give the constants of `model` without values, in place, those that their keys have."""
    for tensor in model.graph.initializer:
        key = key_of(tensor)
        if key is not None:
            tensor.raw_data = numpy_helper.from_array(values(key)).raw_data


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """A bare copy of `model` at `opset`."""
    return version_converter.convert_version(bare(model), opset)


def infer_shapes(model: onnx.ModelProto) -> onnx.GraphProto:
    """A bare copy of the graph of `model` with all shapes that onnx can infer."""
    return onnx.shape_inference.infer_shapes(bare(model)).graph


def check(model: onnx.ModelProto) -> None:
    """Raises ConversionError where the checker or the inference of shapes finds a mistake."""
    copy = bare(model)
    # The checker wants the values of constants, and of inputs none.
    constants = [each for each in copy.graph.initializer if key_of(each) is None]
    copy.graph.input.extend(
        onnx.helper.make_tensor_value_info(each.name, each.data_type, each.dims)
        for each in copy.graph.initializer
        if key_of(each) is not None
    )
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(constants)
    try:
        onnx.checker.check_model(copy, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConversionError(
            f"the ONNX graph of this model is invalid: {reason}",
            "replace the layer that it names",
        ) from error
