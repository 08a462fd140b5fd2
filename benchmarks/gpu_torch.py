"""The same graphs as PyTorch networks under torch.compile, to compare TensorRT's engines with.

    python benchmarks/gpu_torch.py CONVERT ROWS [--batch-sizes 1 64] [--seconds 3] [--device cuda]

Every node of the ONNX graph becomes one call of PyTorch with the same weights: the networks are
equal by construction, and their outputs are compared with those of Keras. Compiled with CUDA
graphs, for one batch size at a time, with the channels last, without TF32. Adds a line to ROWS for
every graph and batch size at once. Ends well where PyTorch is not installed, and says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gpu_peers
import gpu_rows
import numpy as np
import onnx
from onnx import helper, numpy_helper

from stages.artifacts.signature import Signature

CONSTANTS = ("Reshape", "Squeeze", "Clip", "Pad")
"""Operators whose further inputs are numbers, not tensors of the network."""
NO_PADS = (0, 0, 0, 0)


def network(model: onnx.ModelProto) -> Any:
    """A torch.fx.GraphModule that computes what the ONNX graph computes, on the CPU.

    Raises ValueError for an operator that none of the benchmark's networks has.
    """
    import torch
    from torch import fx

    root, graph, values = torch.nn.Module(), fx.Graph(), {"": None}
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for each in model.graph.input:
        values[each.name] = graph.placeholder("image")
    for number, (name, array) in enumerate(arrays.items()):
        root.register_buffer(f"weight{number}", torch.from_numpy(array.copy()))
        values[name] = graph.get_attr(f"weight{number}")
    for node in model.graph.node:
        if node.op_type not in OPERATORS:
            raise ValueError(f"no operator of PyTorch is given for ONNX' {node.op_type}")
        takes = arrays if node.op_type in CONSTANTS else {}
        inputs = [takes[name].tolist() if name in takes else values[name] for name in node.input]
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if attributes.pop("auto_pad", b"NOTSET") != b"NOTSET":
            raise ValueError(f"the padding of {node.name} is to be found out, expected numbers")
        function = OPERATORS[node.op_type]
        values[node.output[0]] = graph.call_function(function, tuple(inputs), attributes)
    graph.output(values[model.graph.output[0].name])
    # Constants have become part of the calls: their buffers are of no use.
    graph.eliminate_dead_code()
    return fx.GraphModule(root, graph)


def conv(
    x: Any,
    weight: Any,
    bias: Any = None,
    pads: Any = NO_PADS,
    strides: Any = (1, 1),
    dilations: Any = (1, 1),
    group: int = 1,
    kernel_shape: Any = None,
) -> Any:
    from torch.nn import functional

    padded = functional.pad(x, _around(pads)) if _is_uneven(pads) else x
    same = 0 if _is_uneven(pads) else tuple(pads[:2])
    return functional.conv2d(padded, weight, bias, tuple(strides), same, tuple(dilations), group)


def max_pool(
    x: Any, kernel_shape: Any, strides: Any = (1, 1), pads: Any = NO_PADS, ceil_mode: int = 0
) -> Any:
    from torch.nn import functional

    padded = functional.pad(x, _around(pads), value=float("-inf")) if any(pads) else x
    return functional.max_pool2d(
        padded, tuple(kernel_shape), tuple(strides), ceil_mode=bool(ceil_mode)
    )


def pad(x: Any, pads: Any, value: float | None = None, mode: bytes = b"constant") -> Any:
    from torch.nn import functional

    if mode != b"constant" or any((*pads[:2], *pads[4:6])):
        raise ValueError(f"a Pad with the mode {mode!r} and {pads}, expected zeros around images")
    return functional.pad(x, _around([*pads[2:4], *pads[6:8]]), value=value or 0.0)


def gemm(
    a: Any,
    b: Any,
    c: Any = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Any:
    product = alpha * ((a.mT if transA else a) @ (b.mT if transB else b))
    return product if c is None else product + beta * c


def cast(x: Any, to: int) -> Any:
    import torch

    return x.to({1: torch.float32, 10: torch.float16}[to])


def _is_uneven(pads: Any) -> bool:
    return tuple(pads[:2]) != tuple(pads[2:])


def _around(pads: Any) -> tuple[int, ...]:
    """ONNX' top, left, bottom, right as PyTorch's left, right, top, bottom."""
    top, left, bottom, right = pads
    return left, right, top, bottom


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "Mul": lambda a, b: a * b,
    "Cast": cast,
    "Clip": lambda x, low=None, high=None: x.clamp(low, high),
    "Conv": conv,
    "Flatten": lambda x, axis=1: x.flatten(axis),
    "Gemm": gemm,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "MaxPool": max_pool,
    "Pad": pad,
    "Relu": lambda x: x.relu(),
    "Reshape": lambda x, shape: x.reshape(
        [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    ),
    "Squeeze": lambda x, axes: x.squeeze(tuple(axes)),
    "Transpose": lambda x, perm: x.permute(tuple(perm)),
}


def compiled(model: onnx.ModelProto, images: Any, device: str) -> tuple[Callable[..., Any], float]:
    """What makes logits (N, classes) of a batch (N, H, W, C), both in host memory, and the seconds
    that compiling it for `images` took.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    equal = network(model).eval().to(device, memory_format=torch.channels_last)
    mode = "reduce-overhead" if device == "cuda" else None
    fast = torch.compile(equal, mode=mode, dynamic=False)
    staged = torch.from_numpy(np.empty_like(images))
    staged = staged.pin_memory() if device == "cuda" else staged

    @torch.inference_mode()
    def run(batch: Any) -> Any:
        staged.copy_(torch.from_numpy(batch))
        return fast(staged.to(device, non_blocking=True)).cpu().numpy()

    start = time.perf_counter()
    for _ in range(3):  # CUDA graphs are recorded in the second call
        run(images)
    return run, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("convert", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if find_spec("torch") is None:
        return print("PyTorch is not installed")
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        return print("this PyTorch finds no GPU")
    signature, samples = Signature.read(options.convert), np.load(options.convert / "samples.npz")
    known = gpu_rows.read(options.rows)  # of a day that was cut off: compiling takes long
    for precision, file in gpu_peers.GRAPHS.items():
        graph = onnx.load(options.convert / file)
        for batch in signature.batch_sizes(options.batch_sizes):
            key = {"engine": f"torch.compile.{options.device}.{precision}", "batch": batch}
            if any(row.items() >= key.items() for row in known):
                continue
            try:
                images = gpu_peers.batch_of(samples["images"], signature, batch)
                run, seconds = compiled(graph, images, options.device)
                found = gpu_peers.measure(run, signature, samples, batch, options.seconds)
                gpu_rows.append(options.rows, key | {"build_s": seconds} | found | {"done": True})
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"[:300]
                gpu_rows.append(options.rows, key | {"reason": reason})
            torch.compiler.reset()
    print(f"{options.convert}: torch.compile measured on {options.device}")


if __name__ == "__main__":
    main()
