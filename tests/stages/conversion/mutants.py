"""Ways to break a quantized graph, one at a time, by editing the file as it was converted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

Edit = Callable[[Path], None]


def _edit_onnx(edit: Callable[[onnx.GraphProto], None]) -> Edit:
    def apply(file: Path) -> None:
        model = onnx.load(file)
        edit(model.graph)
        onnx.save(model, file)

    return apply


def _set(graph: onnx.GraphProto, name: str, values: np.ndarray) -> None:
    tensor = next(each for each in graph.initializer if each.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def _get(graph: onnx.GraphProto, name: str) -> np.ndarray:
    tensors = (each for each in graph.initializer if each.name == name)
    return numpy_helper.to_array(next(tensors)).copy()


def _reader(graph: onnx.GraphProto, scale: str) -> onnx.NodeProto:
    """The last DequantizeLinear of a point."""
    nodes = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[1] == scale]
    return nodes[-1]


def _square_kernel(graph: onnx.GraphProto) -> onnx.NodeProto:
    """The DequantizeLinear of a convolution with as many input as output channels."""
    shapes = {each.name: each.dims for each in graph.initializer}
    return next(
        node
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        and len(dims := shapes.get(node.input[0], ())) == 4
        and dims[0] == dims[1]
    )


def _wrong_axis(graph: onnx.GraphProto) -> None:
    node = _square_kernel(graph)
    next(each for each in node.attribute if each.name == "axis").i = 1


def _off_by_one_zero_point(graph: onnx.GraphProto) -> None:
    node = _reader(graph, "inner.scale")
    zero = _get(graph, node.input[2])
    graph.initializer.append(numpy_helper.from_array(zero + zero.dtype.type(1), "mutant"))
    node.input[2] = "mutant"


def _swapped_scales(graph: onnx.GraphProto) -> None:
    first, second = (_get(graph, f"{name}.scale") for name in ("inner", "first"))
    _set(graph, "inner.scale", second)
    _set(graph, "first.scale", first)


def _swapped_kernel_scales(graph: onnx.GraphProto) -> None:
    name = _square_kernel(graph).input[1]
    _set(graph, name, _get(graph, name)[::-1].copy())


def _missing_relu(graph: onnx.GraphProto) -> None:
    """That before the sigmoid: any other is done once more by the quantizer behind it."""
    sigmoid = next(node for node in graph.node if node.op_type == "Sigmoid")
    relu = next(node for node in graph.node if sigmoid.input[0] in node.output)
    assert relu.op_type == "Relu"
    sigmoid.input[0] = relu.input[0]


ONNX: dict[str, Edit] = {
    edit.__name__.strip("_"): _edit_onnx(edit)
    for edit in (
        _wrong_axis,
        _off_by_one_zero_point,
        _swapped_scales,
        _swapped_kernel_scales,
        _missing_relu,
    )
}


def refine_bias(file: Path) -> None:
    """Store the INT32 bias of the Dense layer "answers" in steps half as large.

    Dequantized it is the same number. Kernels for integers take the steps for those that follow
    from the other operands: what goes wrong where a layer is called with inputs of several scales.
    """
    model = onnx.load(file)
    gemm = next(node for node in model.graph.node if node.name == "answers")
    reader = next(node for node in model.graph.node if gemm.input[2] in node.output)
    levels, scale, _ = reader.input
    _set(model.graph, levels, _get(model.graph, levels) * 2)
    _set(model.graph, scale, _get(model.graph, scale) / 2)
    onnx.save(model, file)


TfLite = Callable[[schema.SubGraphT, Mapping[str, float]], None]


def edit_tflite(edit: TfLite, file: Path, scales: Mapping[str, float]) -> None:
    """Apply `edit` to a `.tflite`; `scales` are those of the points, which have no names in it."""
    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    edit(model.subgraphs[0], scales)
    _write_tflite(model, file)


def _write_tflite(model: schema.ModelT, file: Path) -> None:
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(bytes(builder.Output()))


def swap_names(file: Path, first: str, second: str) -> None:
    """Exchange the names of two inputs, or outputs, of a `.tflite` or an ONNX graph."""
    other = {first: second, second: first}
    if file.suffix == ".tflite":
        model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
        for each in (*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs):
            each.name = other.get(each.name.decode(), each.name.decode())
        _write_tflite(model, file)
        return
    graph = onnx.load(file)
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = [other.get(name, name) for name in names]
    for value in (*graph.graph.input, *graph.graph.output):
        value.name = other.get(value.name, value.name)
    onnx.save(graph, file)


def _activation(graph: schema.SubGraphT, scale: float) -> schema.QuantizationParametersT:
    """Of the int8 tensor with one scale, this one."""
    found = [
        each.quantization
        for each in graph.tensors
        if each.type == schema.TensorType.INT8
        and len(each.quantization.scale) == 1
        and abs(each.quantization.scale[0] / scale - 1) < 1e-5
    ]
    assert len(found) == 1
    return found[0]


def _kernel(graph: schema.SubGraphT) -> schema.QuantizationParametersT:
    """Of a convolution with as many input as output channels."""
    return next(
        each.quantization
        for each in graph.tensors
        if each.type == schema.TensorType.INT8
        and len(each.shape) == 4
        and each.shape[0] == each.shape[3] == len(each.quantization.scale)
    )


def _tflite_wrong_axis(graph: schema.SubGraphT, _: Mapping[str, float]) -> None:
    """Its kernels know one axis only; by the other, the channels would have their mean."""
    quantization = _kernel(graph)
    quantization.scale = np.full_like(quantization.scale, np.mean(quantization.scale))


def _tflite_off_by_one_zero_point(graph: schema.SubGraphT, scales: Mapping[str, float]) -> None:
    quantization = _activation(graph, scales["inner"])
    quantization.zeroPoint = quantization.zeroPoint + 1


def _tflite_swapped_scales(graph: schema.SubGraphT, scales: Mapping[str, float]) -> None:
    first, second = (_activation(graph, scales[name]) for name in ("inner", "first"))
    first.scale, second.scale = second.scale, first.scale


def _tflite_swapped_kernel_scales(graph: schema.SubGraphT, _: Mapping[str, float]) -> None:
    quantization = _kernel(graph)
    quantization.scale = quantization.scale[::-1].copy()


def _tflite_missing_relu(graph: schema.SubGraphT, _: Mapping[str, float]) -> None:
    """That of the float addition: any other is done once more by the type of its output."""
    sums = [op for op in graph.operators if isinstance(op.builtinOptions, schema.AddOptionsT)]
    (op,) = (op for op in sums if graph.tensors[op.outputs[0]].type == schema.TensorType.FLOAT32)
    assert op.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU
    op.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE


TFLITE: dict[str, TfLite] = {
    edit.__name__.removeprefix("_tflite_"): edit
    for edit in (
        _tflite_wrong_axis,
        _tflite_off_by_one_zero_point,
        _tflite_swapped_scales,
        _tflite_swapped_kernel_scales,
        _tflite_missing_relu,
    )
}
