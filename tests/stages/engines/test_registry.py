from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stages.engines.base import missing_package
from stages.engines.environment import PACKAGES
from stages.engines.modules import load, source_file
from stages.engines.registry import ENGINES, EngineName, backend_label
from stages.errors.packages import native_module


@pytest.mark.parametrize("backend", ENGINES)
def test_every_precision_has_a_file_of_the_convert_stage(backend: str, converted: Path) -> None:
    """Also where the module decides which, as for older releases of TensorRT."""
    for precision, file in ENGINES[backend].sources.items():
        assert (converted / file).is_file()
        assert (converted / source_file(EngineName(backend, precision))).is_file()


@pytest.mark.parametrize("backend", ENGINES)
def test_the_module_of_a_row_has_the_names_of_an_engine(backend: str) -> None:
    names = ("build_blocker", "run_blocker", "build", "Runner")
    assert all(callable(getattr(load(backend), name)) for name in names)


def test_the_packages_of_every_engine_are_in_the_description_of_the_machine() -> None:
    assert {package for row in ENGINES.values() for package in row.packages} <= set(PACKAGES)
    assert len(set(PACKAGES)) == len(PACKAGES)


def test_the_command_that_installs_a_missing_package_is_that_of_the_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert missing_package("onnxruntime") is None
    for package in {each for row in ENGINES.values() for each in row.packages}:
        monkeypatch.setitem(sys.modules, native_module(package).partition(".")[0], None)
    fixes = {name: missing.fix for name in ENGINES if (missing := missing_package(name))}
    assert fixes.keys() == ENGINES.keys()
    assert fixes["litert"] == "pip install ai-edge-litert"
    assert fixes["tensorrt_rtx"] == "pip install tensorrt-rtx pycuda"


def test_the_second_package_of_a_row_is_missed_where_the_first_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tensorrt_rtx.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    blocker = missing_package("tensorrt_rtx")
    assert blocker is not None
    assert blocker.reason == "the package pycuda is not installed"
    assert missing_package("tensorrt_rtx", "tensorrt-rtx") is None


def test_a_name_is_written_in_three_ways_and_read_in_one() -> None:
    name = EngineName("litert", "int8")
    assert (f"{name}", name.words, name.label) == ("litert.int8", "litert int8", "LiteRT INT8")
    assert EngineName.parse("litert.int8") == name
    assert EngineName.parse("litert") == EngineName("litert", "")


def test_an_engine_of_another_version_keeps_its_own_spelling() -> None:
    assert backend_label("executorch") == "executorch"
    assert EngineName("executorch", "int4").label == "executorch int4"
