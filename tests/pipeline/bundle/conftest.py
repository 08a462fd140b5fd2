from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bundle.export import Export, export
from pipeline.core.plan import PLAN
from tests import converted_artifact


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts that begin with `convert`, with engines of ONNX Runtime and OpenVINO."""
    root: Path = tmp_path_factory.mktemp("built") / "artifacts"
    converted_artifact.write(root)
    converted_artifact.build(root, "onnxruntime", "openvino")
    return root


@pytest.fixture(scope="session")
def bundle(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float32 engine of ONNX Runtime; not to be written to."""
    to: Path = tmp_path_factory.mktemp("bundle") / "small"
    export(Export(to, "onnxruntime.fp32"), built, PLAN)
    return to
