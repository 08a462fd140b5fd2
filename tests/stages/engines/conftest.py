"""Built engines, and the reason for skipping those that this machine cannot run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.engines.base import BuildRequest, Engine
from stages.engines.modules import load, source_file
from stages.engines.registry import ENGINES, EngineName, Precision
from tests.stages.graphs import SIGNATURE

MAX_BATCH_SIZE = 8


@dataclass(frozen=True)
class Built:
    """An engine file of the small classifier."""

    backend: str
    precision: Precision
    file: Path

    def runner(self, file: Path | None = None) -> Engine:
        """An engine, not opened."""
        return load(self.backend).Runner(file or self.file, SIGNATURE)


def _cases() -> list[object]:
    return [
        pytest.param(
            (backend, precision),
            id=f"{backend}.{precision}",
            marks=[pytest.mark.gpu] if row.device == "gpu" else [],
        )
        for backend, row in ENGINES.items()
        for precision in row.precisions
    ]


@pytest.fixture(scope="session", params=_cases())
def built(
    request: pytest.FixtureRequest, converted: Path, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    """Every engine that can be built and run here, one after the other."""
    backend, precision = request.param
    module = load(backend)
    blocker = module.build_blocker() or module.run_blocker()
    if blocker is not None:
        pytest.skip(blocker.reason)
    out = tmp_path_factory.mktemp("engine") / f"{backend}.{precision}{ENGINES[backend].suffix}"
    source = converted / source_file(EngineName(backend, precision))
    module.build(source, out, BuildRequest(SIGNATURE, precision, MAX_BATCH_SIZE))
    return Built(backend, precision, out)
