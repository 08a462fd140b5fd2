from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stages.engines import amx
from stages.measurement import peaks
from stages.measurement.throughput import usable_cores
from stages.results.engines import EngineRecord, Peak

QUICK = 0.01


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[Peak]:
    """Of four engines; LiteRT's INT8 file says that it is run without AMX."""
    folder: Path = tmp_path_factory.mktemp("build")
    (folder / "without").write_bytes(b"engine" + amx.WITHOUT_AMX)
    (folder / "plain").write_bytes(b"engine")
    records = [
        EngineRecord(backend="onnxruntime", precision="fp32", file="plain"),
        EngineRecord(backend="openvino", precision="int8", file="plain"),
        EngineRecord(backend="litert", precision="int8", file="without"),
        EngineRecord(backend="tensorrt", precision="int8", file="plain"),
        EngineRecord(backend="litert", precision="fp32"),
    ]
    return peaks.arithmetic(records, folder, (1,), QUICK)


def test_every_engine_of_the_cpu_has_the_peak_of_its_instructions(measured: list[Peak]) -> None:
    of = {name: each for each in measured for name in each.engines}
    assert set(of) == {"onnxruntime.fp32", "openvino.int8", "litert.int8"}
    assert of["onnxruntime.fp32"].precision == "fp32"
    assert of["openvino.int8"].has_amx == amx.is_available()
    assert not of["litert.int8"].has_amx
    assert all(each.multiply_adds_per_second > 0 for each in measured)


def measured_copies(threads: tuple[int, ...]) -> list[tuple[int, int]]:
    found = peaks.memory(threads, 0.001)
    assert all(each.bytes_per_second > 0 for each in found)
    return [(each.threads, each.moved_bytes) for each in found]


def test_a_copy_is_measured_for_every_size_and_number_of_threads_that_there_are_cores_for() -> None:
    counts = [threads for threads in (1, 2) if threads <= usable_cores()]
    expected = [(threads, moved) for threads in counts for moved in peaks.COPIED_BYTES]
    assert measured_copies((1, 2, 64 * usable_cores())) == expected
    assert all(a < b for a, b in pairwise(peaks.COPIED_BYTES))


def test_a_size_of_which_a_share_is_too_small_to_time_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peaks, "usable_cores", lambda: 8)
    assert measured_copies((8,)) == [(8, moved) for moved in peaks.COPIED_BYTES[1:]]


def test_one_call_copies_as_often_as_it_says() -> None:
    target, source = peaks._shifted(4096, 5)
    np.copyto(target, source)
    assert target.shape == (5, 4096)
    assert target.all()
    reached = {row.ctypes.data - target.ctypes.data for row in target}
    assert reached == {peaks.LINE * number for number in range(5)}


def test_threads_that_copy_one_after_the_other_copy_no_more_than_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each thread's own best copies, added up, would be those of two, every time."""
    alone, least_seconds = threading.Lock(), 0.004

    def copyto(*_: object) -> None:
        with alone:
            time.sleep(least_seconds)

    monkeypatch.setattr(np, "copyto", copyto)
    assert 0 < peaks._copied(1 << 20, 2, 0.0) <= peaks.PER_ROUND / least_seconds
