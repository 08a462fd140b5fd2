from __future__ import annotations

import pytest

from stages.engines.tensorrt.profile import recorder

trt = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")


def test_the_median_of_every_layer_is_kept() -> None:
    record = recorder(trt)
    assert isinstance(record, trt.IProfiler)
    for ms in (3.0, 1.0, 2.0):
        record.report_layer_time("conv", ms)
    record.report_layer_time("dense", 0.5)
    assert record.medians() == {"conv": 2.0, "dense": 0.5}
