from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import version_converter
from onnx.reference import ReferenceEvaluator

from stages.measurement import gpu_peaks, peaks
from stages.measurement.convolutions import Size, Types, graph

SMALL = Size(batch=2, side=8, channels=32, layers=3)
KINDS = {*peaks.TYPES.values(), *gpu_peaks.GRAPHS.values()}


@pytest.mark.parametrize("size", [SMALL, peaks.SIZE], ids=["small", "of the CPU"])
def test_multiply_adds_are_those_of_the_kernels_at_every_place(size: Size) -> None:
    found = graph(Types("FLOAT"), size).graph
    layers = [each for each in found.node if each.op_type == "Conv"]
    (kernel,) = (np.prod(each.dims) for each in found.initializer if each.name == "kernel")
    assert len(layers) * kernel * size.side**2 * size.batch == size.multiply_adds


@pytest.mark.parametrize("types", sorted(KINDS), ids="-".join)
def test_no_layer_dies_out_or_overflows(types: Types) -> None:
    # ONNX's own evaluator has no pairs of an older opset.
    model = version_converter.convert_version(graph(types, SMALL), 19)
    last = onnx.helper.make_tensor_value_info(f"y{SMALL.layers}", onnx.TensorProto.UNDEFINED, None)
    model.graph.output.append(last)
    images = SMALL.signature.noise(SMALL.batch)
    logits, values = ReferenceEvaluator(model).run(None, {"image": images})
    values = values.astype(np.float32)
    assert logits.shape == (SMALL.batch, SMALL.channels)
    assert logits.dtype == np.float32
    assert 0.1 < (values > 0).mean() < 0.9
    assert 10 < values.mean() < 200
    np.testing.assert_allclose(logits, values.mean(axis=(2, 3)), rtol=0.02)


@pytest.mark.parametrize("types", sorted(KINDS), ids="-".join)
def test_every_convolution_reads_the_type_that_it_is_the_peak_of(types: Types) -> None:
    model = graph(types, SMALL)
    made = {output: node for node in model.graph.node for output in node.output}
    convolutions = [each for each in model.graph.node if each.op_type == "Conv"]
    pairs = [[name in made and made[name].op_type for name in each.input] for each in convolutions]
    if types.steps:
        assert pairs == [["DequantizeLinear", "DequantizeLinear"]] * SMALL.layers
    else:
        (kernel,) = (each for each in model.graph.initializer if each.name == "kernel")
        assert kernel.data_type == getattr(onnx.TensorProto, types.real)
