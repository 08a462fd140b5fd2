from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from stages.engines.tensorrt import build_info
from stages.engines.tensorrt.build_info import BuildInfo, Compatibility
from stages.errors import EngineError

A10 = BuildInfo("tensorrt 10.3.0", ("NVIDIA A10",), "550.54")


def engine(folder: Path, bound: Compatibility) -> Path:
    file = folder / "tensorrt.int8.plan"
    build_info.write(file, A10, bound)
    return file


def test_where_it_was_built_an_engine_is_welcome(tmp_path: Path) -> None:
    build_info.check(engine(tmp_path, Compatibility()), A10)


@pytest.mark.parametrize(
    ("now", "names"),
    [
        (BuildInfo("tensorrt 10.5.0", ("NVIDIA A10",), "550.54"), "tensorrt 10.5.0, NVIDIA A10"),
        (
            BuildInfo("tensorrt 10.3.0", ("Tesla T4",), "535.1"),
            "tensorrt 10.3.0, Tesla T4, driver 535.1",
        ),
        (BuildInfo("tensorrt 10.3.0", (), None), "tensorrt 10.3.0, no GPU, driver none"),
    ],
)
def test_elsewhere_one_error_names_both_machines(
    tmp_path: Path, now: BuildInfo, names: str
) -> None:
    with pytest.raises(EngineError) as caught:
        build_info.check(engine(tmp_path, Compatibility()), now)
    both = "tensorrt.int8.plan was built for: tensorrt 10.3.0, NVIDIA A10, driver 550.54"
    assert caught.value.message.startswith(f"{both}; this machine has: {names}")
    assert "pipeline run build" in caught.value.hint


def test_another_driver_is_left_to_tensorrt(tmp_path: Path) -> None:
    build_info.check(engine(tmp_path, Compatibility()), BuildInfo(A10.runtime, A10.gpus, "560.35"))


def test_an_engine_is_bound_to_what_the_settings_leave(tmp_path: Path) -> None:
    elsewhere = BuildInfo("tensorrt 10.3.0", ("Tesla T4",), "535.1")
    build_info.check(engine(tmp_path, Compatibility(to_gpu="any")), elsewhere)
    later = BuildInfo("tensorrt 11.0.0", ("NVIDIA A10",), "580.1")
    build_info.check(engine(tmp_path, Compatibility(to_version=False)), later)
    with pytest.raises(EngineError, match="tensorrt 11"):
        build_info.check(engine(tmp_path, Compatibility(to_gpu="any")), later)


@pytest.mark.parametrize(
    ("gpus", "capability", "is_welcome"),
    [
        ("same", "8.6", False),
        ("same_compute_capability", "8.6", True),
        ("same_compute_capability", "8.9", False),
        ("same_compute_capability", None, True),
        ("ampere_plus", "8.0", True),
        ("ampere_plus", "12.0", True),
        ("ampere_plus", "7.5", False),
        ("any", "7.5", True),
    ],
)
def test_another_gpu_of_the_family_may_open_a_compatible_engine(
    tmp_path: Path, gpus: build_info.Gpus, capability: str | None, is_welcome: bool
) -> None:
    file = tmp_path / "engine.plan"
    build_info.write(file, replace(A10, capability="8.6"), Compatibility(to_gpu=gpus))
    now = BuildInfo(A10.runtime, ("another GPU",), "560.1", capability)
    with nullcontext() if is_welcome else pytest.raises(EngineError, match="another GPU"):
        build_info.check(file, now)


def test_a_gpu_without_the_arithmetic_of_the_engine_is_told(tmp_path: Path) -> None:
    file = engine(tmp_path, Compatibility(to_gpu="any", least_capability="8.9"))
    build_info.check(file, replace(A10, capability="8.9"))
    with pytest.raises(EngineError) as caught:
        build_info.check(file, replace(A10, capability="8.6"))
    assert caught.value.message == (
        "tensorrt.int8.plan needs compute capability 8.9 or higher, this GPU has 8.6"
    )


@pytest.mark.parametrize(("was_bound", "gpus"), [(True, "same"), (False, "any")])
def test_a_file_of_an_earlier_version_is_read(tmp_path: Path, was_bound: bool, gpus: str) -> None:
    file = tmp_path / "engine.plan"
    content = {
        "runtime": "tensorrt 10",
        "gpus": ["NVIDIA A10"],
        "driver": "550",
        "to_version": True,
    }
    (tmp_path / "engine.plan.json").write_text(json.dumps({**content, "to_gpu": was_bound}))
    read = build_info.read(file)
    assert read is not None
    assert read[1] == Compatibility(to_gpu=gpus)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"runtime": 1}'])
def test_without_a_readable_origin_nothing_is_known(tmp_path: Path, text: str) -> None:
    file = tmp_path / "engine.plan"
    build_info.check(file, A10)
    (tmp_path / "engine.plan.json").write_text(text)
    assert build_info.read(file) is None
    build_info.check(file, A10)


def test_this_machine_is_described_with_the_runtime() -> None:
    runtime = ModuleType("tensorrt")
    runtime.__version__ = "9.9.9"  # type: ignore[attr-defined]
    assert build_info.here(runtime).runtime == "tensorrt 9.9.9"


def test_a_gpu_that_cannot_be_asked_leaves_its_capability_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TensorRT-RTX has built its engine by then, without a GPU."""

    def busy() -> str:
        raise EngineError("CUDA cannot start: all devices are busy")

    monkeypatch.setattr(build_info, "gpu_blocker", lambda: None)
    monkeypatch.setattr(build_info, "compute_capability", busy)
    runtime = ModuleType("tensorrt_rtx")
    runtime.__version__ = "1.7"  # type: ignore[attr-defined]
    assert build_info.here(runtime).capability is None
