from __future__ import annotations

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
    build_info.check(engine(tmp_path, Compatibility(to_gpu=False)), elsewhere)
    later = BuildInfo("tensorrt 11.0.0", ("NVIDIA A10",), "580.1")
    build_info.check(engine(tmp_path, Compatibility(to_version=False)), later)
    with pytest.raises(EngineError, match="tensorrt 11"):
        build_info.check(engine(tmp_path, Compatibility(to_gpu=False)), later)


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
