from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from stages.engines import amx
from stages.engines.registry import Precision
from stages.measurement import peaks
from stages.results.engines import EngineRecord, Peak

QUICK = 0.01


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[Peak]:
    """Of four engines; LiteRT's INT8 file says that it is run without AMX."""
    folder: Path = tmp_path_factory.mktemp("build")
    (folder / "without").write_bytes(b"engine" + amx.WITHOUT_AMX)
    (folder / "plain").write_bytes(b"engine")
    records = [
        EngineRecord(backend="onnxruntime", precision="fp32", file="plain"),
        EngineRecord(backend="openvino", precision="int8", file="plain"),
        EngineRecord(backend="litert", precision="int8", file="without"),
        EngineRecord(backend="tensorrt", precision="int8", file="plain"),
        EngineRecord(backend="litert", precision="fp32"),
    ]
    return peaks.arithmetic(records, folder, (1,), QUICK)


def test_the_float_convolution_is_counted_as_keras_and_numpy_count_it() -> None:
    graph = peaks.convolutions("fp32").graph
    kernels = [each for each in graph.node if each.op_type == "Conv"]
    (kernel,) = (np.prod(each.dims) for each in graph.initializer if each.name == "kernel")
    assert len(kernels) * kernel * peaks.SIDE**2 == peaks.MULTIPLY_ADDS


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_no_layer_dies_out_or_overflows(precision: Precision) -> None:
    model = peaks.convolutions(precision)
    onnx.checker.check_model(model, full_check=True)
    # Some of the layers: ONNX's own evaluator is slow.
    model.graph.output.insert(0, onnx.ValueInfoProto(name="y2"))
    del model.graph.node[[each.output[0] for each in model.graph.node].index("y2") + 1 :]
    del model.graph.output[1:]
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 128), np.uint8)
    (values,) = ReferenceEvaluator(model).run(None, {"image": images})
    assert 0.1 < (values > 0).mean() < 0.9
    assert 10 < values.mean() < 200


def test_every_engine_of_the_cpu_has_the_peak_of_its_instructions(measured: list[Peak]) -> None:
    of = {name: each for each in measured for name in each.engines}
    assert set(of) == {"onnxruntime.fp32", "openvino.int8", "litert.int8"}
    assert of["onnxruntime.fp32"].precision == "fp32"
    assert of["openvino.int8"].has_amx == amx.is_available()
    assert not of["litert.int8"].has_amx
    assert all(each.multiply_adds_per_second > 0 for each in measured)


def test_a_copy_is_measured_for_every_size_and_number_of_threads() -> None:
    found = peaks.memory((1, 2), 0.001)
    assert [(each.threads, each.moved_bytes) for each in found] == [
        (threads, moved) for threads in (1, 2) for moved in peaks.COPIED_BYTES
    ]
    assert all(each.bytes_per_second > 0 for each in found)
    assert all(a < b for a, b in pairwise(peaks.COPIED_BYTES))
