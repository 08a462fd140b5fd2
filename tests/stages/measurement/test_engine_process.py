from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pytest

from stages.engines.base import BuildRequest
from stages.engines.registry import EngineName
from stages.engines.tensorrt.engine import TIMING_CACHE
from stages.errors import EngineError
from stages.measurement import engine_process
from stages.measurement.engine_process import EngineProcess, build_with_timings, compare, trial
from stages.settings import Build, TensorRT
from tests.stages.graphs import SIGNATURE

FLOAT = EngineName("onnxruntime", "fp32")
CPU = [(FLOAT, "model.fp32.onnx"), (EngineName("litert", "int8"), "model.int8.tflite")]


@pytest.mark.parametrize(("name", "file"), CPU)
def test_engines_are_built_and_timed_in_turns(converted: Path, name: EngineName, file: str) -> None:
    engines = [EngineProcess(name, converted / file, converted) for _ in range(2)]
    with engines[0] as reference, engines[1] as same:
        reference.wait()
        same.wait()
        ms, (share,) = compare(reference, [same], windows=3, window_seconds=0.01)
    assert ms > 0
    assert share > 0


def test_a_file_that_is_no_engine_is_refused_by_its_name(converted: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with (
        EngineProcess(FLOAT, tmp_path / "broken.onnx", converted) as started,
        pytest.raises(EngineError, match=r"broken\.onnx"),
    ):
        started.wait()


def test_a_process_that_dies_is_an_error_and_not_a_hang(converted: Path) -> None:
    with EngineProcess(FLOAT, converted / "model.fp32.onnx", converted) as started:
        started.wait()
        started._child.kill()
        with pytest.raises(EngineError, match=r"onnxruntime\.fp32 of model\.fp32\.onnx died") as it:
            started.p50_ms(0.01)
    assert it.value.hint == "choose another prune.target"


def test_the_process_ends_with_the_context_and_leaves_nothing_behind(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # looked up once per process
    with EngineProcess(FLOAT, converted / "model.fp32.onnx", converted) as started:
        started.wait()
        assert list(tmp_path.glob("*/engine*"))
    assert started._child.returncode is not None
    assert not [each for each in tmp_path.iterdir() if each.is_dir()]


@pytest.mark.parametrize(("sizes", "profile"), [((1, 32), (1, 1, 1)), ((32,), (1, 32, 32))])
def test_what_is_timed_has_the_profile_that_will_run_and_the_users_settings(
    sizes: tuple[int, ...], profile: tuple[int, ...]
) -> None:
    wanted = TensorRT(optimization_level=5)
    build = Build(max_batch_size=64, batch_sizes=sizes, workspace_mib=77)
    request = trial(SIGNATURE, "fp16", 1, build, wanted)
    assert request.profiles == (profile,)
    whole = BuildRequest(SIGNATURE, "fp16", 64, sizes)
    assert profile in whole.profiles
    assert (request.workspace_mib, request.tensorrt) == (77, wanted)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        (0, r"target_batch_size 65 is above build\.max_batch_size 64\n.*target_batch_size=64"),
        (8, r"is above 8, the only one that the network takes\n.*target_batch_size=8"),
    ],
)
def test_a_batch_that_no_engine_will_take_is_refused(fixed: int, message: str) -> None:
    signature = dataclasses.replace(SIGNATURE, batch_size=fixed)
    with pytest.raises(EngineError, match=message):
        trial(signature, "fp16", 65, Build(max_batch_size=64), TensorRT())


class Timer:
    """Builds what TensorRT would: an engine, and beside it all that was timed by now."""

    def build(self, source: Path, out: Path, request: BuildRequest) -> None:
        timings = out.with_name(TIMING_CACHE)
        known = timings.read_text() if timings.exists() else ""
        timings.write_text(f"{known}{source.name} ")


def test_a_trial_begins_with_what_the_one_before_it_has_timed(tmp_path: Path) -> None:
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        request = BuildRequest(SIGNATURE, "fp32")
        build_with_timings(Timer(), Path(name), folder / "engine.plan", request, tmp_path)  # type: ignore[arg-type]
    assert (tmp_path / TIMING_CACHE).read_text() == "first second "


def test_the_users_settings_reach_the_builder_in_the_child(converted: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    source = converted / "model.fp8.onnx"
    turing = TensorRT(compute_capabilities=("7.5",))
    with (
        EngineProcess(EngineName("tensorrt_rtx", "fp8"), source, converted, 1, None, turing) as it,
        pytest.raises(EngineError, match=r"fp8 needs compute capability 8\.9 or higher"),
    ):
        it.wait()


def test_an_engine_that_does_not_exist_is_refused() -> None:
    assert engine_process.require(FLOAT) == "model.fp32.onnx"
    with pytest.raises(EngineError, match="litert has no fp16 engine"):
        engine_process.require(EngineName("litert", "fp16"))
