from __future__ import annotations

from typing import Any

from pipeline.report.sections import latency
from pipeline.results.assemble import assemble
from tests.pipeline.records import records, row


def test_p99_of_fewer_than_1000_samples_is_marked_indicative() -> None:
    grid = latency.latency_grid(assemble(records(), {}))
    p99 = {each[0]: each[grid.columns.index("p99 ms")] for each in grid.rows}
    assert p99["train: tf.function fp32"] == "0.800 (indicative)"
    assert p99["engine: litert int8"] == "0.500"  # the last one's, at batch 32
    assert grid.notes == ("p99 from fewer than 1,000 samples is indicative only.",)


def test_exactly_1000_samples_are_enough_for_p99() -> None:
    found = records("train")
    found["train"]["measurements"]["latency"] = [row("tf.function", "fp32", 1, 0.4, samples=1000)]
    assert latency.latency_grid(assemble(found, {})).notes == ()


def test_every_latency_is_listed_once_although_the_stages_share_rows() -> None:
    rows = latency.latency_grid(assemble(records(), {})).rows
    assert len(rows) == 3 + 2 + 3 * 2  # tf.function, baseline, engines
    assert len(set(rows)) == len(rows)


def test_intervals_stability_and_memory_are_columns_once_a_row_has_them() -> None:
    found = records()
    plain = latency.latency_grid(assemble(found, {}))
    assert not {"95 % of p50", "timing", "peak MiB", "saturated images/s"} & set(plain.columns)
    timed = found["benchmark"]["measurements"]["engines"][2]["latency"][0]
    timed |= {"p50_low_ms": 0.0079, "p50_high_ms": 0.0083, "stable": False}
    timed |= {"peak_memory_mib": 41.4, "saturated_images_per_second": 250_000.0}
    grid = latency.latency_grid(assemble(found, {}))
    cells = {each[0] + each[1]: dict(zip(grid.columns, each, strict=True)) for each in grid.rows}
    litert = cells["engine: litert int81"]
    assert litert["95 % of p50"] == "0.0079 to 0.0083"
    assert litert["timing"] == "UNSTABLE"
    assert (litert["peak MiB"], litert["saturated images/s"]) == ("41", "250,000")
    assert cells["engine: onnxruntime int81"]["timing"] == "-"
    assert any(note.startswith("UNSTABLE") for note in grid.notes)


def choice(engine: str, batch_size: int, p50_ms: float, **more: Any) -> dict[str, Any]:
    return {"engine": engine, "batch_size": batch_size, "threads": 1, "p50_ms": p50_ms, **more}


def test_the_choice_of_the_engine_shows_what_it_was_made_by() -> None:
    found = records()
    found["build"]["measurements"]["details"]["auto"] = {
        "batch_sizes": [1],
        "max_accuracy_drop": 0.5,
        "table": [
            choice("litert.int8", 1, 0.008, p50_low_ms=0.0079, p50_high_ms=0.0081, stable=True,
                   top1=0.98, within_budget=True),
            choice("onnxruntime.int8", 1, 0.007, stable=False, top1=0.9, within_budget=False),
        ],
        "chosen": {"1": {"engine": "litert.int8", "threads": 1}},
    }  # fmt: skip
    grid = latency.choice_grid(assemble(found, {}))
    assert "0.5 points" in grid.caption
    assert grid.rows == (
        ("litert int8", "1", "1", "0.0080", "0.0079 to 0.0081", "98.00 %", "within", "chosen"),
        ("onnxruntime int8", "1", "1", "0.0070 UNSTABLE", "-", "90.00 %", "too far off", ""),
    )


def test_without_a_choice_there_is_no_table_of_it() -> None:
    assert latency.choice_grid(assemble(records(), {})).rows == ()
    assert latency.choice_grid(assemble(records("train"), {})).rows == ()
