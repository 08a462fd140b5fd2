"""One short run of the real line on real digits, shared by the tests that look at its results."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("line", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("line")

ROOT = Path(__file__).parent.parent
QUICK = ("train.epochs=6", "prune.epochs=4", "quantize.epochs=1")
QUICK += ("build.max_seconds_per_engine=0.02", "benchmark.max_seconds_per_engine=0.05")
QUICK += ("benchmark.warmup_seconds=0.02",)
"""Enough to learn the digits; the default settings take three times as long."""

LONGEST = (
    "test_line.py",
    "test_examples.py",
    "test_contributing.py",
    "test_resume.py",
    "test_devices.py",
    "test_large_images.py",
    "test_prune.py",
    "test_detector_line.py",
    "test_inputs_line.py",
    "test_rank_lines.py",
    "test_several_line.py",
    "test_task_lines.py",
    "test_quantize.py",
    "test_convert.py",
    "test_train.py",
    "test_build.py",
    "test_benchmark.py",
)


def pipeline(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, with its output piped."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def quick(*settings: str) -> list[str]:
    """The options of a short run."""
    return [word for pair in (*QUICK, *settings) for word in ("--set", pair)]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m gpu` only files that mark tests so: others import Keras, which a GPU host may lack.

    A folder without such a file is left out as a whole, for its conftest.py.
    """
    if config.getoption("markexpr") != "gpu" or collection_path.name == "conftest.py":
        return None
    found = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return not any("pytest.mark.gpu" in file.read_text() for file in found) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: `make test` shares the files between two processes."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_configure() -> None:
    """Importing TensorFlow takes a fifth longer with searches for garbage.

    Keras chooses its folder when it is imported: no test finds a download of the user's there.
    """
    gc.disable()
    os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-home-")


def pytest_sessionstart() -> None:
    """A developer's own `pipeline.toml` would be read by every command that the tests run here."""
    if (ROOT / "pipeline.toml").exists():
        raise pytest.UsageError("pipeline.toml here would be read by the tests: move it away")


def pytest_collection_finish() -> None:
    """Keras collects garbage at every reset; all that was imported by now need not be searched."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Nor need what the tests have left, a last time before Python ends."""
    gc.freeze()
    shutil.rmtree(os.environ["KERAS_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What data sets keep is kept for the tests alone, and for the processes they start."""
    home: Path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture(autouse=True, scope="session")
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Below pytest's own folder, which goes: TensorFlow leaves a file for each traced function."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True, scope="session")
def compiled_once() -> Iterator[None]:
    """Hundreds of processes are started: none compiles what another one has, or it takes longer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every download by Python fails at once."""
    # The discard port: refused at once, with or without a network.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    urllib.request.install_opener(None)  # It keeps the proxy of before.
    yield
    urllib.request.install_opener(None)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact folder after `pipeline run all`; tests that change it take a copy."""
    folder: Path = tmp_path_factory.mktemp("line") / "artifacts"
    done = pipeline("run", "all", "--artifacts", folder, *quick())
    assert done.returncode == 0, done.stdout + done.stderr
    (folder.parent / "output.txt").write_text(done.stdout)
    return folder
