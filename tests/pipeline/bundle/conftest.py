from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bundle.export import Export, export
from pipeline.core.plan import PLAN
from pipeline.core.record import Record
from pipeline.core.record import write as write_record
from pipeline.core.store import Store
from stages.results.conversion import ConvertResult
from tests.conftest import pipeline
from tests.stages.graphs import write_converted


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts that begin with `convert`, with engines of ONNX Runtime and OpenVINO."""
    root: Path = tmp_path_factory.mktemp("built") / "artifacts"
    store = Store(root)
    with store.writing("convert") as folder:
        write_converted(folder)
        record = Record(
            stage="convert",
            revision=3,
            key="k",
            settings={"model": {"name": "small"}, "data": {"name": "made"}},
            external={},
            inputs={},
            environment={},
            started_at="2026-01-01T00:00:00+00:00",
            seconds=1.0,
            files=store.list_files(folder),
            measurements=ConvertResult(),
        )
        write_record(record, folder)
    options = ['build.backends=["onnxruntime", "openvino"]', 'build.precisions=["fp32", "int8"]']
    options += ["build.max_seconds_per_engine=0.05"]
    words = [word for option in options for word in ("--set", option)]
    done = pipeline("run", "build", "--artifacts", root, *words)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def bundle(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float32 engine of ONNX Runtime; not to be written to."""
    to: Path = tmp_path_factory.mktemp("bundle") / "small"
    export(Export(to, "onnxruntime.fp32"), built, PLAN)
    return to
