"""Networks that Keras has trained or built, on a GPU, against what Keras says of the samples."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.artifacts.signature import Signature
from stages.build import check_parity
from stages.engines import modules
from stages.engines.base import BuildRequest
from stages.engines.registry import ENGINES, EngineName
from stages.measurement.accuracy import logits

ROOT = Path(__file__).parents[4]
PREPARED = "PREPARED_NETWORKS"
"""Names the folder that benchmarks/gpu_prepare.py made on a machine with Keras."""
BATCH_SIZE = 32


def _networks() -> list[str]:
    folder = os.environ.get(PREPARED)
    found = Path(folder).glob("*/convert/signature.json") if folder else []
    return sorted(file.parents[1].name for file in found) or ["default_cnn"]


def _engines() -> list[EngineName]:
    gpus = {backend: row for backend, row in ENGINES.items() if row.device == "gpu"}
    return [EngineName(backend, each) for backend, row in gpus.items() for each in row.precisions]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of networks; without a given one, the default network in a minute of Keras."""
    if given := os.environ.get(PREPARED):
        return Path(given)
    if importlib.util.find_spec("keras") is None:
        pytest.skip(f"no Keras: bring a folder of benchmarks/gpu_prepare.py, and set {PREPARED}")
    folder: Path = tmp_path_factory.mktemp("prepared")
    words = [ROOT / "benchmarks" / "gpu_prepare.py", folder, "--only", "default_cnn"]
    subprocess.run([sys.executable, *map(str, words)], check=True)
    return folder


@pytest.mark.gpu
@pytest.mark.parametrize("network", _networks())
@pytest.mark.parametrize("engine", _engines(), ids=str)
def test_an_engine_says_what_keras_says(
    engine: EngineName, network: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    module = modules.load(engine.backend)
    if blocker := module.build_blocker() or module.run_blocker():
        pytest.skip(blocker.reason)
    folder = request.getfixturevalue("prepared") / network / "convert"
    signature = Signature.read(folder)
    source = folder / modules.source_file(engine)
    if not source.is_file():
        pytest.skip(f"there is no {source.name}: it is written if convert.extra_precisions says so")
    file = tmp_path / f"engine{ENGINES[engine.backend].suffix}"
    asked = BuildRequest(signature, engine.precision, BATCH_SIZE, (BATCH_SIZE,))
    module.build(source, file, asked)
    samples = np.load(folder / "samples.npz")
    with module.Runner(file, signature) as running:
        found = logits(running, samples["images"], BATCH_SIZE)
    check = check_parity(engine, samples, found)
    assert check is not None
    assert check.passed, check
