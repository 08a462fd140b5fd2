"""With interfaces that know more or fewer names, as those of TensorRT 8.6 to 11 do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stages.engines.tensorrt import options
from stages.errors import EngineError
from stages.settings import TensorRT
from tests.stages.graphs import graph


def version(number: str, flags: str = "", levels: str = "") -> Any:
    """A TensorRT that knows these names."""
    return SimpleNamespace(
        __name__="tensorrt",
        __version__=number,
        BuilderFlag=SimpleNamespace(**dict.fromkeys(flags.split())),
        HardwareCompatibilityLevel=SimpleNamespace(**{name: name for name in levels.split()}),
    )


OLD = version("8.6.1", "REFIT", "NONE AMPERE_PLUS")
NEW = version("11.0", "REFIT REFIT_IDENTICAL STRIP_PLAN", "AMPERE_PLUS SAME_COMPUTE_CAPABILITY")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (TensorRT(weight_stripped=True), "tensorrt 8.6.1 has no plans without weights"),
        (
            TensorRT(hardware_compatibility="same_compute_capability"),
            "tensorrt 8.6.1 has no level 'same_compute_capability'",
        ),
    ],
)
def test_what_a_version_lacks_is_refused_by_its_name(wanted: TensorRT, message: str) -> None:
    with pytest.raises(EngineError) as caught:
        options.check(OLD, wanted)
    assert caught.value.message == message
    assert caught.value.hint.startswith("leave it out: --set tensorrt.")
    options.check(NEW, wanted)


def test_a_stripped_plan_may_fold_whatever_its_own_weights_allow() -> None:
    model = graph("fp32")
    assert options.flags(NEW, model, TensorRT()) == []
    stripped = TensorRT(weight_stripped=True)
    assert options.flags(NEW, model, stripped) == ["STRIP_PLAN", "REFIT_IDENTICAL"]
    both = TensorRT(weight_stripped=True, refittable=True)
    assert options.flags(NEW, model, both) == ["REFIT", "STRIP_PLAN"]


def test_the_level_of_compatibility_reaches_the_builder() -> None:
    for level in ("ampere_plus", "same_compute_capability"):
        config = SimpleNamespace()
        wanted = TensorRT.model_validate({"hardware_compatibility": level})
        options.set_gpus(NEW, config, wanted)
        assert config.hardware_compatibility_level == level.upper()
    config = SimpleNamespace()
    options.set_gpus(NEW, config, TensorRT())
    assert vars(config) == {}
