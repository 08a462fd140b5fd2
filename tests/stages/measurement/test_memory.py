from __future__ import annotations

from pathlib import Path

from stages.engines import child
from stages.engines.registry import ENGINES
from stages.measurement import memory
from tests.stages.engine_records import record
from tests.stages.graphs import SIGNATURE


def test_memory_is_read_from_the_status_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n")
    assert memory.memory_mib("VmHWM", tmp_path / "status") == 2.0
    assert memory.memory_mib("VmRSS", tmp_path / "status") == 1.0


def test_a_process_that_ends_early_tells_no_memory(tmp_path: Path) -> None:
    SIGNATURE.write(tmp_path)
    (tmp_path / "broken.tflite").write_bytes(b"broken")
    entry = record("litert.int8", file="broken.tflite")
    assert memory.peak_memory_mib(entry, tmp_path, 1, [1]) == {}


def test_the_process_of_an_engine_makes_no_types_of_settings_and_results() -> None:
    rows = [row.module for row in ENGINES.values() if row.device == "cpu"]
    code = (
        f"import sys, {memory.__name__}, {', '.join(rows)};"
        "print([name for name in ('pydantic', 'stages.settings') if name in sys.modules])"
    )
    assert child.answer("builtins", "exec", code) == "[]"
