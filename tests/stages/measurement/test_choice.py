from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stages.engines.base import BuildRequest
from stages.engines.modules import load, source_file
from stages.engines.records import BASELINE
from stages.errors import EngineError
from stages.measurement import choice
from stages.measurement.choice import Budget
from stages.results.engines import Candidate, EngineChoice
from stages.settings import Build
from tests.stages.engine_records import record
from tests.stages.graphs import CLASSES, SIGNATURE, images, reference

QUICK = {"max_seconds_per_engine": 0.02}
BUDGET = Budget(1000, 0.5)


@pytest.fixture(scope="module")
def folder(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two engines, as the build stage leaves them."""
    out: Path = tmp_path_factory.mktemp("engines")
    SIGNATURE.write(out)
    for entry in ENTRIES[:2]:
        request = BuildRequest(SIGNATURE, entry.precision)
        source = converted / source_file(entry.name)
        load(entry.backend).build(source, out / str(entry.file), request)
    baseline = BuildRequest(SIGNATURE, "fp32")
    load("onnxruntime").build(converted / "baseline.fp32.onnx", out / BASELINE, baseline)
    return out


ENTRIES = [
    record("onnxruntime.fp32", file="onnxruntime.fp32.onnx", state="ran"),
    record("litert.int8", file="litert.int8.tflite", state="ran"),
    record("openvino.fp32", file="openvino.fp32.openvino", state="built_not_run"),
    record("tensorrt.fp32"),
]
PIXELS = images(50, seed=5)
LABELS = np.argmax(reference("fp32", SIGNATURE.preprocess(PIXELS)), axis=1)


def choose(folder: Path, **options: Any) -> EngineChoice:
    settings = Build(**{**QUICK, **options})
    return choice.choose(ENTRIES, folder, PIXELS, LABELS, settings)


def test_every_engine_that_ran_is_timed_with_every_thread_count_and_batch_size(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "usable_cores", lambda: 2)
    found = choose(folder, batch_sizes=(1, 8), threads=(1, 2, 64))
    cases = {(row.engine, row.batch_size, row.threads) for row in found.table}
    names = ("onnxruntime.fp32", "litert.int8")
    assert cases == {(name, size, count) for name in names for size in (1, 8) for count in (1, 2)}
    assert len(found.table) == len(cases)
    for row in found.table:
        assert row.p50_ms > 0
        assert row.p50_low_ms <= row.p50_high_ms
        assert row.top1 >= (1.0 if row.engine == "onnxruntime.fp32" else 0.9)


def test_the_choice_is_one_of_the_rows_and_lies_beside_the_engines(folder: Path) -> None:
    found = choose(folder, batch_sizes=(1, 8), threads=(1,))
    assert set(found.chosen) == {1, 8}
    assert choice.read(folder) == found.chosen
    for size, best in found.chosen.items():
        assert best == choice.pick(found.table, size, Budget(50, 0.5))
    assert (found.validation_samples, found.max_accuracy_drop) == (50, 0.5)
    assert found.trained_top1 == 1.0
    for each in found.differences:
        top1 = next(row.top1 for row in found.table if row.engine == each.engine)
        assert (each.won, each.lost) == (0, round(50 * (1 - top1)))


def test_where_no_count_of_threads_fits_one_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "usable_cores", lambda: 2)
    found = choose(folder, batch_sizes=(1,), threads=(64,))
    assert {row.threads for row in found.table} == {1}


def test_the_budget_is_counted_from_the_trained_model(folder: Path, tmp_path: Path) -> None:
    """A pruned network that forgot a class: its float32 engine is no measure."""
    pruned: Path = shutil.copytree(folder, tmp_path / "pruned")
    graph = onnx.load(pruned / "onnxruntime.fp32.onnx")
    bias = next(each for each in graph.graph.initializer if each.dims == [CLASSES])
    values = onnx.numpy_helper.to_array(bias).copy()
    values[np.bincount(LABELS).argmax()] = -1e6
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(graph, pruned / "onnxruntime.fp32.onnx")
    found = choice.choose(ENTRIES[:1], pruned, PIXELS, LABELS, Build(**QUICK))
    assert found.trained_top1 == 1.0
    assert {row.within_budget for row in found.table} == {False}
    assert {each.within_budget for each in found.chosen.values()} == {False}


def test_without_an_engine_nothing_is_chosen(folder: Path, tmp_path: Path) -> None:
    copied: Path = shutil.copytree(folder, tmp_path / "none")
    found = choice.choose(ENTRIES[3:], copied, PIXELS, LABELS, Build())
    assert (found.table, found.chosen) == ((), {})
    assert choice.read(copied) == {}


def row(engine: str, p50: float, spread: float = 0.0, **other: Any) -> Candidate:
    known = {"batch_size": 1, "threads": 1, "top1": 0.9, "within_budget": True, "stable": True}
    interval = {"p50_low_ms": p50 - spread, "p50_ms": p50, "p50_high_ms": p50 + spread}
    return Candidate(engine=engine, **{**known, **interval, **other})


def chosen(*rows: Candidate) -> str:
    found = choice.pick(rows, 1, BUDGET)
    assert found is not None
    return found.engine


def test_the_fastest_within_the_budget_is_chosen() -> None:
    quick = row("quick", 1.0, within_budget=False)
    assert chosen(row("slow", 3.0), quick, row("middle", 2.0)) == "middle"


def test_an_unstable_row_is_chosen_only_if_it_is_faster_at_its_worst() -> None:
    steady = row("steady", 2.0)
    assert chosen(steady, row("shaky", 1.9, 0.2, stable=False)) == "steady"
    assert chosen(steady, row("shaky", 1.0, 0.2, stable=False)) == "shaky"


def test_where_no_row_is_stable_the_lower_ends_are_compared() -> None:
    one, other = row("one", 2.0, 0.9, stable=False), row("other", 1.9, 0.1, stable=False)
    assert chosen(one, other) == "one"


def test_where_nothing_is_within_the_budget_it_is_counted_from_the_most_accurate() -> None:
    tops = {"best": (3.0, 0.9), "near": (2.0, 0.896), "bad": (1.0, 0.1)}
    rows = [row(name, p50, within_budget=False, top1=top1) for name, (p50, top1) in tops.items()]
    assert chosen(*rows) == "near"
    assert choice.pick(rows, 1, BUDGET).within_budget is False  # type: ignore[union-attr]


def test_other_batch_sizes_do_not_matter() -> None:
    assert chosen(row("one", 2.0), row("eight", 1.0, batch_size=8)) == "one"
    assert choice.pick([row("one", 2.0)], 8, BUDGET) is None


@pytest.mark.parametrize(
    ("samples", "points", "lost", "is_allowed"),
    [
        (1000, 0.5, 5, True),
        (1000, 0.5, 6, False),
        (1000, 0.7, 7, True),  # 0.7 / 100 * 1000 is a little less than 7
        (166, 0.0, 1, True),  # one image, whatever the budget
        (166, 0.0, 2, False),
        (500, 0.59, 3, False),
        (500, 0.5, -20, True),
    ],
)
def test_the_budget_is_counted_in_images(
    samples: int, points: float, lost: int, is_allowed: bool
) -> None:
    right = round(0.9 * samples)
    budget = Budget(samples, points)
    assert budget.allows((right - lost) / samples, right / samples) == is_allowed


@pytest.mark.parametrize("text", ["{", "[]", '{"1": {"engine": "litert.int8"}}', '{"one": {}}'])
def test_a_damaged_choice_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / choice.FILE).write_text(text)
    with pytest.raises(EngineError, match=r"choice\.json.* is damaged") as caught:
        choice.read(tmp_path)
    assert caught.value.hint == "run: pipeline run build --force"


def test_one_image_more_is_lost_only_where_images_are_counted() -> None:
    assert Budget(20, 0.5).allows(0.755, 0.80)
    assert not Budget(20, 0.5, is_counted=False).allows(0.755, 0.80)
    assert Budget(20, 0.5, is_counted=False).allows(0.796, 0.80)
