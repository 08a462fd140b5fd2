"""An ONNX graph as a PyTorch network, where PyTorch is installed; it is no dependency."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, checker, helper, numpy_helper

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import gpu_torch

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")


def every_operator(half: bool = False) -> bytes:
    """A graph with all operators that the benchmark's networks have, and uneven pads."""
    random, kind = np.random.default_rng(0), np.float16 if half else np.float32

    def weights(name: str, *shape: int) -> object:
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(kind), name)

    to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    uneven = {"pads": [0, 0, 1, 1], "strides": [2, 2]}
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=to),
        helper.make_node("Mul", ["cast", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["channels_first", "w1", "b1"], ["conv1"], **uneven),
        helper.make_node("Clip", ["conv1", "low", "high"], ["clipped"]),
        helper.make_node("Conv", ["clipped", "w2"], ["deep"], pads=[1, 1, 1, 1], group=4),
        helper.make_node("Relu", ["deep"], ["relu"]),
        helper.make_node("Add", ["relu", "clipped"], ["sum"]),
        helper.make_node("Pad", ["sum", "around"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["pool"], kernel_shape=[3, 3], **uneven),
        helper.make_node("GlobalAveragePool", ["pool"], ["mean"]),
        helper.make_node("Squeeze", ["mean", "axes"], ["squeezed"]),
        helper.make_node("Reshape", ["squeezed", "shape"], ["reshaped"]),
        helper.make_node("Flatten", ["reshaped"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["dense"], transB=1),
        helper.make_node("Cast", ["dense"], ["logits"], to=TensorProto.FLOAT),
    ]
    constants = [
        numpy_helper.from_array(np.array(1 / 255, kind), "scale"),
        *(weights("w1", 4, 3, 3, 3), weights("b1", 4), weights("w2", 4, 1, 3, 3)),
        *(weights("w3", 5, 4), weights("b3", 5)),
        *(numpy_helper.from_array(np.array(x, kind), n) for n, x in (("low", 0), ("high", 6))),
        numpy_helper.from_array(np.array([2, 3]), "axes"),
        numpy_helper.from_array(np.array([0, 0, 1, 0, 0, 0, 0, 2]), "around"),
        numpy_helper.from_array(np.array([0, 2, 2]), "shape"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 9, 9, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])
    graph = helper.make_graph(nodes, "all", [image], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


@needs_torch
@pytest.mark.parametrize(("half", "limit"), [(False, 1e-5), (True, 1e-2)])
def test_the_network_computes_what_the_graph_computes(half: bool, limit: float) -> None:
    import onnx
    import torch

    source = every_operator(half)
    images = np.random.default_rng(1).integers(0, 256, (3, 9, 9, 3), np.uint8)
    plain = onnxruntime.SessionOptions()
    # It would fuse the Pad into the pool, where zeros are no longer zeros.
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(source, plain, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"image": images})
    network = gpu_torch.network(onnx.load_from_string(source))
    with torch.inference_mode():
        found = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=limit * np.abs(expected).max())


@needs_torch
def test_an_operator_that_is_not_known_is_named() -> None:
    import onnx

    model = onnx.load_from_string(every_operator())
    model.graph.node[6].op_type = "Softplus"
    with pytest.raises(ValueError, match="ONNX' Softplus"):
        gpu_torch.network(model)


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_without_pytorch_it_says_so(tmp_path: Path) -> None:
    words = [sys.executable, gpu_torch.__file__, tmp_path, tmp_path / "rows"]
    root = Path(gpu_torch.__file__).parents[1]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, env={"PYTHONPATH": str(root)}
    )
    assert (done.returncode, done.stdout) == (0, "PyTorch is not installed\n")
