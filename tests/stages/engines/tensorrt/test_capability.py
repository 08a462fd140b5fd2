from __future__ import annotations

import pytest

from stages.engines.tensorrt import capability
from stages.errors import EngineError


@pytest.mark.parametrize(
    ("precision", "found"),
    [
        ("fp8", ("8.9",)),
        ("fp8", ("12.0", "10.0")),
        ("bf16", ("8.0",)),
        ("int8", ("7.5",)),
        ("fp8", ()),
    ],
)
def test_where_the_arithmetic_is_there_nothing_is_said(precision, found):
    capability.require(precision, found, "this GPU has")


def test_a_gpu_without_it_is_told_in_one_line():
    with pytest.raises(EngineError) as caught:
        capability.require("fp8", ("8.6",), "this GPU has")
    assert caught.value.message == ("fp8 needs compute capability 8.9 or higher, this GPU has 8.6")
    assert caught.value.hint == "leave fp8 out of build.precisions"


def test_all_that_are_too_old_are_named():
    with pytest.raises(
        EngineError, match=r"bf16 needs .* 8\.0 or higher, the list has 7\.5, 6\.1\n"
    ):
        capability.require("bf16", ("7.5", "8.9", "6.1"), "the list has")
