from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.artifacts import ranges
from stages.artifacts.ranges import Range, covering
from stages.errors import ConversionError
from stages.numerics.qparams import INT8, Grid, quantize

SILU = Range(-0.28, 3.5)


def test_ranges_come_back_from_their_file_as_they_were(tmp_path):
    found = {"image": Range(0.0, 1.0), "swish:2": Range(-0.28, 3.25, 0.001)}
    ranges.write(found, tmp_path)
    assert ranges.read(tmp_path, found) == found


def test_a_tensor_that_is_left_in_float_is_known_but_has_no_range(tmp_path):
    ranges.write({"image": None, "relu": Range(0.0, 1.0)}, tmp_path)
    assert ranges.read(tmp_path, ["image", "relu"]) == {"relu": Range(0.0, 1.0)}


def test_a_tensor_of_which_nothing_is_said_is_named(tmp_path):
    ranges.write({"image": Range(0.0, 1.0)}, tmp_path)
    with pytest.raises(ConversionError, match="no range for 'relu'"):
        ranges.read(tmp_path, ["image", "relu"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "has no attribute 'items'"),
        ('{"image": {"low": 0.0}}', "'high'"),
        ('{"image": 3}', "must be a mapping"),
        ('{"image": {"low": 1.0, "high": 2.0}}', "no range around zero"),
        ('{"image": {"low": 0.0, "high": 0.0}}', "no range around zero"),
        ('{"image": {"low": NaN, "high": 1.0}}', "no range around zero"),
        ('{"image": {"low": -1.0, "high": Infinity}}', "no range around zero"),
    ],
)
def test_a_file_of_something_else_is_refused_with_what_to_run(tmp_path, content, reason):
    (tmp_path / ranges.FILE).write_text(content)
    with pytest.raises(ConversionError, match=r"ranges\.json") as caught:
        ranges.read(tmp_path, [])
    assert reason in str(caught.value)
    assert caught.value.hint == "run: pipeline run quantize"


def test_a_file_of_symmetric_ranges_is_refused_in_one_line_and_a_hint(tmp_path):
    old = {"image": {"amax": 1.0, "signed": False, "saturated_share": 0.0}}
    (tmp_path / ranges.FILE).write_text(json.dumps(old))
    with pytest.raises(ConversionError, match="of an earlier version, with 'amax'") as caught:
        ranges.read(tmp_path, [])
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("target", ["cpu", "litert"])
def test_cpu_engines_spend_all_steps_between_the_smallest_and_the_largest_value(target):
    assert SILU.scale(target) == pytest.approx(0.0148, abs=5e-5)
    grid = SILU.grid(target)
    assert (grid.low, grid.high) == (-19, 236)
    assert SILU.limits(target) == pytest.approx((-0.28, 3.5), abs=0.5 * SILU.scale(target))


def test_tensorrt_stays_symmetric():
    assert SILU.grid("tensorrt") == INT8
    assert SILU.scale("tensorrt") == pytest.approx(3.5 / 127, rel=1e-3)
    assert Range(-4.0, 1.0).scale("tensorrt") == pytest.approx(4.0 / 128, rel=1e-3)


def test_what_is_never_negative_has_its_zero_on_the_first_step():
    assert Range(0.0, 2.0).grid("cpu") == Grid(0, 255)
    low, high = Range(0.0, 2.0).limits("cpu")
    assert low == 0.0
    assert high == pytest.approx(2.0, rel=1e-3)


def test_scales_are_float16_values_so_that_fp16_graphs_hold_them_exactly():
    for high in (1.0, 3.3, 1e-9, 417.0):
        for target in ("cpu", "tensorrt"):
            scale = Range(-high / 3, high).scale(target)
            assert scale == float(np.float16(scale)) > 0


@given(st.floats(-50, 0), st.floats(0, 50), st.sampled_from(["cpu", "litert", "tensorrt"]))
def test_every_grid_has_zero_and_covers_both_ends(low, high, target):
    found = covering(np.array([low, high], np.float32))
    grid, scale = found.grid(target), found.scale(target)
    assert grid.high - grid.low == 255
    assert grid.low <= 0 <= grid.high
    ends = np.array([found.low, 0.0, found.high], np.float32)
    back = quantize(ends, scale, grid) * scale
    assert back[1] == 0.0
    # Half a step, and what rounding the scale to float16 takes from the longer side.
    assert np.abs(back - ends).max() <= scale * (0.5 + 256 * 2**-11)


@given(st.floats(-50, -1e-3), st.floats(1e-3, 50))
def test_a_step_of_the_cpu_is_hardly_larger_than_a_255th_and_the_grid_stays_when_learned(low, high):
    found = Range(low, high)
    assert found.scale("cpu") <= (high - low) / 255 * (1 + 1 / 127 + 2**-10)
    grid, scale = found.grid("cpu"), found.scale("cpu")
    again = Range(grid.low * scale, grid.high * scale)
    assert (again.grid("cpu"), again.scale("cpu")) == (grid, scale)
