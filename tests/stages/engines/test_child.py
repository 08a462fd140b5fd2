from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stages.engines import child, litert, openvino
from stages.engines.base import BuildRequest
from stages.engines.child import ChildFailed
from stages.engines.registry import EngineName
from stages.measurement import memory
from stages.measurement.engine_process import EngineProcess
from tests.stages.engine_records import record
from tests.stages.graphs import SIGNATURE

HOSTILE = "raise SystemExit('a file of the current folder was executed')"


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that holds our package and modules of the standard library, all broken."""
    (tmp_path / "stages").mkdir()
    for file in ("stages/__init__.py", "json.py", "numpy.py", "tempfile.py"):
        (tmp_path / file).write_text(HOSTILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    return tmp_path


def test_litert_is_timed_by_our_own_modules(hostile: Path, converted: Path) -> None:
    assert litert.probe(converted / "model.int8.tflite", "with", 0.0) > 0


def test_openvino_is_asked_by_our_own_modules(hostile: Path, converted: Path) -> None:
    file = hostile / "engine.openvino"
    openvino.build(converted / "model.fp32.onnx", file, BuildRequest(SIGNATURE, "fp32"))
    assert openvino.kernels(file)


@pytest.mark.skipif(not memory.STATUS.exists(), reason="this machine has no /proc")
def test_memory_is_measured_by_our_own_modules(hostile: Path, converted: Path) -> None:
    engine = record("litert.int8", file="model.int8.tflite")
    assert memory.peak_memory_mib(engine, converted, 1, [4, 1]).keys() == {1, 4}


def test_engines_to_compare_are_built_by_our_own_modules(hostile: Path, converted: Path) -> None:
    name = EngineName("onnxruntime", "fp32")
    with EngineProcess(name, converted / "model.fp32.onnx", converted) as engine:
        engine.wait()
        assert engine.p50_ms(0.01) > 0


def test_the_answer_is_the_last_line_that_was_printed() -> None:
    assert child.answer("builtins", "print", "of a library\n", 7) == " 7"


def test_arguments_arrive_as_they_were() -> None:
    text = 'it\'s \\ "quoted" and a path of other bytes: \udcff'
    assert child.answer("builtins", "print", ascii(text)) == ascii(text)


def test_a_child_that_fails_tells_its_status_and_its_last_words() -> None:
    for end, expected in (("no such file", (1, "no such file")), (3, (3, ""))):
        with pytest.raises(ChildFailed) as caught:
            child.answer("sys", "exit", end)
        assert (caught.value.status, caught.value.reason) == expected


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("", None),
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("import os; os.abort()", "it crashes with SIGABRT"),
        ("raise OSError('libcudnn.so.9: cannot open')", "OSError: libcudnn.so.9: cannot open"),
    ],
)
def test_a_module_that_does_not_load_is_found_out_in_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, fault: str | None
) -> None:
    name = f"sample_{source.encode().hex()[:20]}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert child.import_fault(name) == fault
    assert name not in sys.modules
