from __future__ import annotations

from pipeline.report import tables
from pipeline.results.assemble import assemble
from tests.pipeline.records import LINE, changed, records, row


def cells(grid: tables.Grid) -> dict[str, dict[str, str]]:
    """First cell -> the other cells by column name."""
    return {each[0]: dict(zip(grid.columns[1:], each[1:], strict=True)) for each in grid.rows}


def test_the_stage_grid_shows_accuracy_change_latency_speedup_size_and_parameters() -> None:
    grid = tables.stage_grid(assemble(records(), {}))
    assert grid.columns == (
        "stage", "accuracy", "change", "p50 ms, batch 1", "runtime", "speed-up", "size",
        "parameters",
    )  # fmt: skip
    assert grid.rows[1] == (
        "prune", "98.89 %", "-0.28", "0.0250", "onnxruntime fp32", "2.2x", "1.4 MB", "108,000",
    )  # fmt: skip


def test_the_benchmark_line_is_the_fastest_engine() -> None:
    grid = tables.stage_grid(assemble(records(), {}))
    assert grid.rows[-1] == (
        "benchmark", "98.61 %", "-0.56", "0.0080", "litert int8", "7.0x", "120 kB", "-",
    )  # fmt: skip


def test_train_is_its_own_yardstick_and_has_no_change() -> None:
    train = cells(tables.stage_grid(assemble(records(), {})))["train"]
    assert (train["change"], train["speed-up"]) == ("-", "1.0x")


def test_accuracy_on_fewer_images_is_marked_and_the_mark_explained() -> None:
    grid = tables.stage_grid(assemble(records(), {}))
    assert cells(grid)["convert"]["accuracy"] == "98.44 %*"
    assert any(note.startswith("* on another number of images") for note in grid.notes)


def test_a_grid_without_marks_explains_none() -> None:
    assert tables.stage_grid(assemble(records("train"), {"train": "ran"})).notes == (
        "tf.function: TensorFlow's own compiled graph, compared only with itself.",
    )


def test_stages_of_an_earlier_run_are_named() -> None:
    report = assemble(records("train", "prune"), {"prune": "ran"})
    assert "From an earlier run: train." in tables.stage_grid(report).notes


def test_a_stage_from_older_files_is_marked_old_and_not_compared() -> None:
    found = cells(tables.stage_grid(assemble(changed(records(*LINE[:-1]), "prune"), {})))
    assert found["quantize (old)"]["change"] == "-"
    assert found["quantize (old)"]["speed-up"] == "-"
    assert found["prune"]["speed-up"] == "1.3x"


def test_the_engine_grid_has_a_p50_for_every_batch_size_and_throughput_at_the_largest() -> None:
    found = cells(tables.engine_grid(assemble(records(), {})))
    assert found["onnxruntime int8"] == {
        "state": "ran",
        "accuracy": "98.61 %",
        "p50 ms, batch 1": "0.0200",
        "p50 ms, batch 32": "0.200",
        "images/s, batch 32": "160,000",
        "size": "125 kB",
    }


def test_an_engine_that_was_built_but_not_run_shows_its_size_and_no_measurement() -> None:
    found = cells(tables.engine_grid(assemble(records(), {})))["tensorrt_rtx int8"]
    assert found.pop("state") == "built, not run"
    assert found.pop("size") == "310 kB"
    assert set(found.values()) == {"-"}


def test_engines_that_did_not_run_for_one_reason_are_named_together() -> None:
    assert tables.not_run(assemble(records(), {})) == [
        tables.NotRun("tensorrt_rtx int8", "built, not run", "no GPU", "install NVIDIA's driver"),
        tables.NotRun(
            "tensorrt fp32, fp16, int8",
            "unavailable",
            "package tensorrt is not installed",
            "pip install 'keras-trt-pipeline[gpu]'",
        ),
    ]


def test_each_thread_count_of_an_engine_has_its_line() -> None:
    found = records()
    engine = found["benchmark"]["measurements"]["engines"][2]
    engine["latency"].append({**row("litert", "int8", 1, 0.012), "threads": 2})
    grid = cells(tables.engine_grid(assemble(found, {})))
    assert grid["litert int8, 1 thread"]["p50 ms, batch 1"] == "0.0080"
    assert grid["litert int8, 2 threads"]["p50 ms, batch 1"] == "0.0120"
    assert grid["litert int8, 2 threads"]["p50 ms, batch 32"] == "-"


def test_latencies_that_build_took_are_said_to_be_brief() -> None:
    notes = tables.engine_grid(assemble(records(*LINE[:-1]), {})).notes
    assert notes == ("Timed briefly by build: the benchmark measures at length.",)


def test_an_unstable_timing_is_marked_and_the_mark_explained() -> None:
    found = records()
    for engine in found["benchmark"]["measurements"]["engines"]:
        for timed in engine["latency"]:
            timed["stable"] = engine["backend"] != "litert"
    grid = tables.engine_grid(assemble(found, {}))
    assert cells(grid)["litert int8"]["p50 ms, batch 1"] == "0.0080!"
    assert cells(grid)["onnxruntime int8"]["p50 ms, batch 1"] == "0.0200"
    assert grid.notes == ("! UNSTABLE: the median moved while it was timed.",)


def test_the_choice_of_build_and_the_changed_images_are_told_below_the_engines() -> None:
    found = records()
    found["build"]["measurements"]["details"]["auto"] = {
        "max_accuracy_drop": 0.5,
        "chosen": {
            "1": {"engine": "litert.int8", "threads": 1},
            "32": {"engine": "onnxruntime.int8", "threads": 1},
        },
    }
    changed = {"engine": "litert.int8", "lost": 3, "won": 1, "other": 0}
    found["benchmark"]["measurements"]["details"]["changed"] = changed
    assert tables.engine_grid(assemble(found, {})).notes == (
        "Within 0.5 points of accuracy, build chose: litert int8 (batch 1), "
        "onnxruntime int8 (batch 32).",
        "litert int8 against the trained model, image by image: 3 lost, 1 won, "
        "0 wrong in another way.",
    )


def test_settings_that_stages_share_are_listed_once() -> None:
    rows = tables.settings_grid(assemble(records(), {})).rows
    assert [each for each in rows if each[1] == "data.name"] == [("train", "data.name", "digits")]


def test_a_setting_that_differs_in_a_later_stage_is_listed_again() -> None:
    found = records("train", "prune")
    found["prune"]["settings"]["data"]["name"] = "mnist"
    rows = tables.settings_grid(assemble(found, {})).rows
    assert ("prune", "data.name", "mnist") in rows


def test_nested_facts_become_dotted_names() -> None:
    facts = {
        "cpu": {"cores": 2, "flags": ["avx2", "fma"]},
        "gpu": {"driver": None, "names": []},
        "load": 1 / 3,
    }
    assert list(tables.flatten(facts)) == [
        ("cpu.cores", "2"),
        ("cpu.flags", "avx2, fma"),
        ("gpu.names", "none"),
        ("load", "0.3333"),
    ]
