from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from stages.conversion.onnx.bare import LARGE, at_opset, bare, check, fill, infer_shapes, key_of
from stages.conversion.onnx.cleanup import clean_up
from stages.conversion.onnx.graph import Index
from stages.errors import ConversionError
from tests.stages.conversion.onnx.builders import conv, evaluate, graph

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(128, 3, 8, 8)).astype(np.float32)
IMAGES = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)


def scaled() -> onnx.ModelProto:
    """A convolution, and a factor for each of its channels: onnxslim folds it into the kernel."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
        helper.make_node("Mul", ["c", "factor"], ["y"], "scale"),
    ]
    factor = RNG.uniform(0.5, 2.0, (1, len(KERNEL), 1, 1)).astype(np.float32)
    constants = {"w": KERNEL, "b": KERNEL[:, 0, 0, 0], "factor": factor}
    return graph(nodes, constants, ("N", 3, 8, 8), ("N", len(KERNEL), 1, 1), opset=17)


def test_a_bare_copy_lacks_large_values_and_nothing_else():
    model = scaled()
    model.metadata_props.add(key="project", value="x")
    copy = bare(model)
    assert copy.ByteSize() < 2000 < KERNEL.nbytes
    assert [key_of(each) for each in copy.graph.initializer] == ["w", None, None]
    with pytest.raises(ValueError, match="size"):
        Index(copy.graph).array("w")
    fill(copy, Index(model.graph).array)
    assert copy.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_small_constants_keep_their_values():
    assert bare(conv()).SerializeToString() == conv().SerializeToString()


def test_the_original_keeps_its_values():
    model = scaled()
    bare(model)
    assert np.array_equal(Index(model.graph).array("w"), KERNEL)


def test_a_newer_opset_has_the_names_of_the_constants():
    model = scaled()
    copy = at_opset(model, 19)
    assert copy.opset_import[0].version == 19
    fill(copy, Index(model.graph).array)
    assert np.allclose(evaluate(copy, IMAGES), evaluate(model, IMAGES), atol=1e-4)


def test_shapes_are_those_that_the_values_would_give():
    shapes = {value.name: value for value in infer_shapes(scaled()).value_info}
    assert [dim.dim_value for dim in shapes["c"].type.tensor_type.shape.dim][1:] == [128, 1, 1]


def test_the_check_refuses_a_kernel_that_does_not_fit():
    model = scaled()
    check(model)
    model.graph.initializer[0].dims[:] = (128, 4, 8, 6)
    with pytest.raises(ConversionError, match="graph of this model is invalid"):
        check(model)


def test_two_kernels_without_values_are_two():
    nodes = [
        helper.make_node("Conv", ["x", name], [f"c{name}"], f"conv{name}") for name in ("v", "w")
    ]
    nodes.append(helper.make_node("Add", ["cv", "cw"], ["y"]))
    constants = {"v": KERNEL, "w": -2 * KERNEL}
    model = graph(nodes, constants, ("N", 3, 8, 8), ("N", len(KERNEL), 1, 1), opset=17)
    slim = clean_up(bare(model), constants.__getitem__)
    fill(slim, constants.__getitem__)
    assert np.allclose(evaluate(slim, IMAGES), evaluate(model, IMAGES), atol=1e-4)


def test_a_bare_graph_is_filled_where_the_clean_up_computes_with_values():
    model = scaled()
    expected = evaluate(model, IMAGES)
    assert KERNEL.size >= LARGE
    slim = clean_up(bare(model), Index(model.graph).array)
    assert [node.op_type for node in slim.graph.node] == ["Conv"]
    assert np.allclose(evaluate(slim, IMAGES), expected, atol=1e-4)
