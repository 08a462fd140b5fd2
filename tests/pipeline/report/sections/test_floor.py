from __future__ import annotations

from typing import Any

import pytest

from pipeline.report.sections.floor import floor_table
from pipeline.results import floor
from tests.pipeline.records import Record, engine, records, report_of, row
from tests.pipeline.report.drawn import cells

CONVERTED = {"parameters": 100_000, "multiply_adds": 2_000_000}
BANDWIDTHS = [
    {"threads": 1, "moved_bytes": 1000, "bytes_per_second": 200e9},
    {"threads": 1, "moved_bytes": 500_000, "bytes_per_second": 100e9},
    {"threads": 1, "moved_bytes": 10**9, "bytes_per_second": 1e9},
]


def peak(precision: str, per_second: float, *engines: str, has_amx: bool = False) -> Record:
    return {
        "precision": precision,
        "threads": 1,
        "kernel": "onnxruntime",
        "has_amx": has_amx,
        "multiply_adds_per_second": per_second,
        "engines": engines,
    }


def measured(**changes: Any) -> dict[str, Record]:
    """LiteRT INT8 takes 0.008 ms for one image and 0.25 ms for 32; its floor is 0.005 ms."""
    found = records()
    convert = found["convert"]["measurements"]
    convert["model"] |= CONVERTED
    convert["details"] |= {"moved_activations": 50_000}
    peaks = [peak("int8", 400e9, "litert.int8", "onnxruntime.int8"), peak("fp32", 100e9, "none")]
    found["benchmark"]["measurements"]["details"] |= {
        "peaks": peaks,
        "bandwidths": BANDWIDTHS,
        **changes,
    }
    return found


def slower(factor: float, fixed_ms: float) -> dict[str, Record]:
    """LiteRT INT8 with other medians: a cost of each call, and one of each image."""
    found = measured()
    engine = found["benchmark"]["measurements"]["engines"][2]
    times = ((size, fixed_ms + size * factor) for size in (1, 32))
    engine["latency"] = [row("litert", "int8", size, p50) for size, p50 in times]
    return found


def test_the_floor_is_that_of_the_peak_of_the_engines_own_instructions() -> None:
    found = cells(floor_table(report_of(measured())))
    assert set(found) == {"onnxruntime int8", "litert int8"}
    litert = floor_table(report_of(measured())).rows[2]
    assert litert == (
        "litert int8", "1", "1", "0.00800", "0.00500", "arithmetic", "62 %", "0.19 µs", "network",
    )  # fmt: skip


def test_the_sentence_is_about_the_engine_of_the_run() -> None:
    table = floor_table(report_of(measured()))
    assert table.notes[0] == (
        "LiteRT INT8 runs at 62 % of what this CPU's INT8 peak allows for one image: the network "
        "is the limit."
    )
    assert table.notes[1:] == (
        "The network has 2,000,000 multiply-adds and 100,000 weights, and moves 50,000 activations "
        "per image.",
        "One thread, in billions of multiply-adds a second: INT8 peak 400, float32 peak 100; "
        "copies in GB/s: 200 of 1 kB, 100 of 500 kB, 1 of 1,000 MB.",
    )


def test_a_cost_of_every_call_makes_the_engine_the_limit() -> None:
    (note, *_) = floor_table(report_of(slower(0.006, fixed_ms=0.012))).notes
    assert note == (
        "LiteRT INT8 runs at 28 % of what this CPU's INT8 peak allows for one image: 12.0 µs of "
        "18.0 µs are the cost of a call itself, so the engine is."
    )


def test_images_that_take_long_make_its_kernels_the_limit() -> None:
    (note, *_) = floor_table(report_of(slower(0.017, fixed_ms=0.001))).notes
    assert note == (
        "LiteRT INT8 runs at 28 % of what this CPU's INT8 peak allows for one image: the kernels "
        "of the engine are the limit, for layers of this shape."
    )


def test_memory_is_the_bound_where_it_takes_longer() -> None:
    slow = [{"threads": 1, "moved_bytes": 1000, "bytes_per_second": 25e9}]
    (found, *_) = (
        each
        for each in floor.distances(report_of(measured(bandwidths=slow)))
        if str(each.engine.name) == "litert.int8"
    )
    # A byte for each weight and activation.
    assert found.floor.ms == pytest.approx(1000 * 150_000 / 25e9)
    assert "this CPU's memory allows" in floor.sentence(found)


def test_a_copy_that_is_larger_than_what_is_moved_does_not_count() -> None:
    found = [each.floor.memory_ms for each in floor.distances(report_of(measured()))]
    one, many = 1000 * 150_000 / 200e9, 1000 * (100_000 + 32 * 50_000) / 100e9
    assert found == pytest.approx([one, many, one, many])


def test_memory_is_no_bound_where_every_copy_is_larger_than_what_is_moved() -> None:
    large = [{"threads": 1, "moved_bytes": 10**9, "bytes_per_second": 1.0}]
    found = list(floor.distances(report_of(measured(bandwidths=large))))
    assert [each.floor.memory_ms for each in found] == [0.0] * 4


def test_threads_without_a_copy_have_no_floor_and_say_so() -> None:
    found = measured()
    details = found["benchmark"]["measurements"]["details"]
    details["peaks"] += [{**details["peaks"][0], "threads": 64}]
    assert floor_table(report_of(found)).notes[-1] == (
        "64 threads, in billions of multiply-adds a second: INT8 peak 400; copies not measured."
    )


def test_with_amx_the_peak_says_so() -> None:
    with_amx = [peak("int8", 400e9, "litert.int8", has_amx=True)]
    (note, *_) = floor_table(report_of(measured(peaks=with_amx))).notes
    assert "of what this CPU's INT8 peak with AMX allows" in note


def on_a_gpu() -> dict[str, Record]:
    """TensorRT INT8 takes 0.05 ms for one image and 0.09 ms for 32 on a GPU that moves 1e12 bytes
    a second in copies of 2e9 bytes."""
    kernel = peak("int8", 2e12, "tensorrt.int8") | {"kernel": "tensorrt"}
    slower = kernel | {"kernel": "tensorrt_rtx", "multiply_adds_per_second": 1e12}
    cpu = peak("int8", 400e9, "litert.int8")
    copies = {"device": "gpu", "threads": 1, "moved_bytes": 2 * 10**9, "bytes_per_second": 1e12}
    found = measured(peaks=[slower, kernel, cpu], bandwidths=[*BANDWIDTHS, copies])
    engines = found["benchmark"]["measurements"]["engines"]
    engines[3:] = [engine("tensorrt", "int8", ".plan", 355, (0.05, 0.09))]
    return found


def test_an_engine_on_a_gpu_has_the_floor_of_the_fastest_kernel_there() -> None:
    report = report_of(on_a_gpu())
    one, many = (
        each for each in floor.distances(report) if str(each.engine.name) == "tensorrt.int8"
    )
    # The copies of the CPU are none of its own, and its own are larger than what it moves.
    assert one.floor == (pytest.approx(1000 * 2e6 / 2e12), 0.0)
    assert many.floor == (pytest.approx(32 * 1000 * 2e6 / 2e12), 0.0)
    assert floor.sentence(many) == (
        "TensorRT INT8 runs at 36 % of what this GPU's INT8 peak allows for 32 images: 48.7 µs of "
        "90.0 µs are the cost of a call itself, so the engine is."
    )


def test_what_a_gpu_can_do_is_told_apart_from_what_threads_can() -> None:
    copies = "copies in GB/s: 200 of 1 kB, 100 of 500 kB, 1 of 1,000 MB."
    assert floor_table(report_of(on_a_gpu())).notes[2:] == (
        f"One thread, in billions of multiply-adds a second: INT8 peak 400; {copies}",
        "The GPU, in billions of multiply-adds a second: INT8 peak 1,000 in TensorRT-RTX, INT8 "
        "peak 2,000 in TensorRT; copies in GB/s: 1,000 of 2,000 MB.",
    )


@pytest.mark.parametrize("lacking", ["moved_activations", "peaks", "bandwidths", "benchmark"])
def test_nothing_is_claimed_where_something_was_not_measured(lacking: str) -> None:
    found = measured()
    if lacking == "benchmark":
        found["benchmark"]["inputs"]["build"] = dict.fromkeys(
            found["benchmark"]["inputs"]["build"], "0" * 64
        )
    for stage in ("convert", "benchmark"):
        found[stage]["measurements"]["details"].pop(lacking, None)
    table = floor_table(report_of(found))
    assert (table.rows, table.notes) == ((), ())
