from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from stages.engines import amx

needs_amx = pytest.mark.skipif(not amx.is_available(), reason="this processor has no AMX")

ROOT = Path(__file__).parents[3]

ASK = "ctypes.CDLL(None).syscall(158, 0x1023, 18)"


def in_a_new_process(code: str) -> list[str]:
    """What `code` prints: the answer to a process is given once and for all."""
    start = "import ctypes\nfrom stages.engines import amx\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code], cwd=ROOT, capture_output=True, check=True
    )
    return done.stdout.decode().split()


def signal_stack() -> tuple[int | None, int, int]:
    """This thread's alternate signal stack, as sigaltstack(2) tells it."""
    stack = amx._SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.address, stack.flags, stack.size


@needs_amx
def test_within_a_refusal_linux_gives_no_tiles() -> None:
    code = f"""
with amx.without_amx():
    print({ASK}, amx.is_permitted())
"""
    assert in_a_new_process(code) == ["-1", "False"]


@needs_amx
def test_after_a_refusal_others_get_them() -> None:
    code = f"""
with amx.without_amx():
    pass
print({ASK}, amx.is_permitted())
"""
    assert in_a_new_process(code) == ["0", "True"]


@needs_amx
def test_onnx_runtime_is_imported_without_amx() -> None:
    code = """
from pathlib import Path
from stages.engines import onnxruntime
from stages.errors import EngineError
try:
    onnxruntime.build(Path("none.onnx"), Path("out.onnx"), None)
except EngineError:
    print(amx.is_permitted())
"""
    assert in_a_new_process(code) == ["False"]


def test_the_signal_stack_is_as_before_also_after_an_error() -> None:
    before = signal_stack()
    with pytest.raises(ValueError, match="within"), amx.without_amx():
        raise ValueError("within")
    assert signal_stack() == before


def test_without_amx_nothing_is_permitted_and_nothing_breaks() -> None:
    if amx.is_available():
        pytest.skip("this processor has AMX")
    with amx.without_amx():
        assert not amx.is_permitted()
