"""TensorRT's own Python interface has every name that we use. Looking at it needs no GPU.

The interface is a small package of its own. The libraries behind it, gigabytes that refuse to work
without a GPU, are stood in for by an empty one with the few functions that it asks for: nothing
is called. The builder is called for real in the tests of TensorRT-RTX.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.children import environment

USED = {
    "Builder": "create_network create_builder_config create_optimization_profile "
    "build_serialized_network",
    "BuilderFlag": "SPARSE_WEIGHTS VERSION_COMPATIBLE REFIT REFIT_IDENTICAL STRIP_PLAN TF32",
    "EngineInspector": "get_engine_information execution_context",
    "HardwareCompatibilityLevel": "AMPERE_PLUS SAME_COMPUTE_CAPABILITY",
    "IBuilderConfig": "set_memory_pool_limit profiling_verbosity builder_optimization_level "
    "set_flag clear_flag add_optimization_profile hardware_compatibility_level create_timing_cache "
    "set_timing_cache get_timing_cache",
    "ICudaEngine": "create_engine_inspector create_execution_context get_tensor_profile_shape "
    "get_tensor_name get_tensor_dtype num_io_tensors num_optimization_profiles",
    "IExecutionContext": "set_tensor_address set_input_shape execute_async_v3 profiler "
    "set_optimization_profile_async",
    "ILogger": "ERROR INTERNAL_ERROR WARNING INFO VERBOSE",
    "INetworkDefinition": "get_input",
    "IOptimizationProfile": "set_shape",
    "IProfiler": "report_layer_time",
    "ITimingCache": "serialize",
    "LayerInformationFormat": "JSON",
    "MemoryPoolType": "WORKSPACE",
    "OnnxParser": "parse num_errors get_error",
    "OnnxParserRefitter": "refit_from_bytes",
    "ProfilingVerbosity": "DETAILED",
    "Refitter": "refit_cuda_engine",
    "Runtime": "deserialize_cuda_engine engine_host_code_allowed",
}

OURS = re.compile(r"(create|get|init)\w*(Infer|Onnx|Plugin)")
"""Functions of TensorRT's libraries, among all that the interface is linked against."""

LOOK = """
import json, sys
import tensorrt_bindings as trt
from stages.engines.tensorrt import logger, network, profile
used = json.loads(sys.argv[1])
missing = [
    f"{kind}.{name}"
    for kind, names in used.items()
    for name in names.split()
    if not hasattr(getattr(trt, kind, None), name)
]
logger.logger(trt), profile.recorder(trt)
print(json.dumps({
    "missing": missing,
    "is_strongly_typed": network.is_strongly_typed(trt),
    "flags": network.network_flags(trt),
    "strongly_typed": 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
    "dtypes": [hasattr(trt, name) for name in ("uint8", "float32")],
}))
"""


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """A folder with the libraries that the interface is linked against, all but empty."""
    spec = importlib.util.find_spec("tensorrt_bindings")
    if spec is None or spec.origin is None:
        pytest.skip("the package tensorrt-cu12-bindings is not installed")
    if not (shutil.which("cc") and shutil.which("readelf")):
        pytest.skip("no C compiler or no binutils")
    module = Path(spec.origin).parent / "tensorrt.so"
    needed = [row.split("[")[1].rstrip("]") for row in readelf("-d", module) if "(NEEDED)" in row]
    rows = [row.split() for row in readelf("--dyn-syms", module)]
    wanted = {row[7] for row in rows if row[6:7] == ["UND"] and row[7:] and OURS.match(row[7])}
    source = tmp_path / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in sorted(wanted)))
    for name in needed:
        if name.startswith("libnv"):
            subprocess.run(["cc", "-shared", "-fPIC", source, "-o", tmp_path / name], check=True)
    return tmp_path


def readelf(what: str, file: Path) -> list[str]:
    return subprocess.run(
        ["readelf", "--wide", what, file], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_tensorrt_has_every_name_that_we_use(libraries: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(USED)],
        env=environment(LD_LIBRARY_PATH=str(libraries), LD_BIND_NOW=""),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["missing"] == []
    assert found["is_strongly_typed"]
    assert found["flags"] == found["strongly_typed"]
    assert found["dtypes"] == [True, True]
