from __future__ import annotations

import numpy as np
import pytest

from stages.artifacts import ranges
from stages.artifacts.ranges import Range
from stages.errors import ConversionError


def test_ranges_come_back_from_their_file_as_they_were(tmp_path):
    found = {"image": Range(1.0, False), "relu:2": Range(3.25, False, 0.001)}
    ranges.write(found, tmp_path)
    assert ranges.read(tmp_path, found) == found


def test_a_tensor_that_is_left_in_float_is_known_but_has_no_range(tmp_path):
    ranges.write({"image": None, "relu": Range(1.0, False)}, tmp_path)
    assert ranges.read(tmp_path, ["image", "relu"]) == {"relu": Range(1.0, False)}


def test_a_tensor_of_which_nothing_is_said_is_named(tmp_path):
    ranges.write({"image": Range(1.0, False)}, tmp_path)
    with pytest.raises(ConversionError, match="no range for 'relu'"):
        ranges.read(tmp_path, ["image", "relu"])


@pytest.mark.parametrize("content", ["", "[]", '{"image": {"amax": 1.0}}', '{"image": 3}'])
def test_a_file_of_something_else_is_refused_with_what_to_run(tmp_path, content):
    (tmp_path / ranges.FILE).write_text(content)
    with pytest.raises(ConversionError, match=r"ranges\.json") as caught:
        ranges.read(tmp_path, [])
    assert caught.value.hint == "run: pipeline run quantize"


def test_tensorrt_gets_signed_steps_and_the_cpu_all_of_them_where_nothing_is_negative():
    positive, mixed = Range(2.0, signed=False), Range(2.0, signed=True)
    assert (positive.grid("cpu").low, positive.grid("cpu").high) == (0, 255)
    assert (positive.grid("tensorrt").low, positive.grid("tensorrt").high) == (-128, 127)
    assert mixed.grid("cpu") == mixed.grid("tensorrt")
    low, high = positive.limits("cpu")
    assert low == 0.0
    assert high == pytest.approx(2.0, rel=1e-3)


def test_scales_are_float16_values_so_that_fp16_graphs_hold_them_exactly():
    for amax in (1.0, 3.3, 1e-9, 417.0):
        for target in ("cpu", "tensorrt"):
            scale = Range(amax, signed=False).scale(target)
            assert scale == float(np.float16(scale)) > 0
