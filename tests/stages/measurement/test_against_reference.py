from __future__ import annotations

import numpy as np
import pytest

from stages.engines.registry import EngineName
from stages.errors import EngineError
from stages.measurement import against_reference
from stages.measurement.against_reference import measure, summarize
from stages.results.base import GpuClocks
from stages.results.engines import EngineRecord
from stages.settings import Benchmark, Gpu


def windows(*medians: float) -> list[np.ndarray]:
    return [np.full(5, median) for median in medians]


def test_a_machine_that_slows_down_half_way_moves_the_milliseconds_and_not_the_ratio():
    found = summarize(windows(1, 1, 1, 3, 3, 3), windows(2, 2, 2, 6, 6, 6))
    assert (found.ratio, found.ratio_low, found.ratio_high) == (0.5, 0.5, 0.5)
    assert found.stable
    assert found.p50_ms == 2.0
    assert found.windows == 6


def test_a_ratio_that_differs_from_window_to_window_is_not_certain():
    found = summarize(windows(1, 1.5, 1, 1.4, 1, 1.5), windows(2, 2, 2, 2, 2, 2))
    assert not found.stable
    assert found.ratio_low < found.ratio_high


def test_windows_that_only_one_of_the_two_had_are_left_out():
    assert summarize(windows(1, 1, 1, 1), windows(2, 2, 2, 2, 9)).windows == 4


def test_the_energy_of_a_call_is_the_most_power_times_its_median():
    clocks = (GpuClocks(name="g", readings=3, most_watts=200.0), GpuClocks(name="h", readings=1))
    assert summarize(windows(2, 2, 2), windows(4, 4, 4), clocks).millijoules == 400.0
    assert summarize(windows(2, 2, 2), windows(4, 4, 4)).millijoules is None


def test_an_engine_that_cannot_be_opened_is_an_error_in_words(tmp_path):
    record = EngineRecord(**EngineName("onnxruntime", "int8")._asdict(), file="none.onnx")
    with pytest.raises(EngineError, match=r"onnxruntime.int8 could not be timed: "):
        measure(record, tmp_path, 1, tmp_path, 1, Benchmark(), Gpu())


def test_the_reference_is_the_trained_network_as_every_build_has_it():
    assert against_reference.REFERENCE.file == "baseline.onnxruntime.fp32.onnx"
