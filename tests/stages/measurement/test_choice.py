from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.engines.base import BuildRequest
from stages.engines.modules import load, source_file
from stages.engines.registry import EngineName
from stages.errors import EngineError
from stages.measurement import choice
from stages.results.engines import Candidate, EngineChoice
from stages.settings import Build
from tests.stages.engine_records import record
from tests.stages.graphs import SIGNATURE, images, reference

QUICK = {"max_seconds_per_engine": 0.02}


@pytest.fixture(scope="module")
def folder(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two engines, as the build stage leaves them."""
    out: Path = tmp_path_factory.mktemp("engines")
    SIGNATURE.write(out)
    for entry in ENTRIES[:2]:
        request = BuildRequest(SIGNATURE, entry.precision)
        source = converted / source_file(entry.name)
        load(entry.backend).build(source, out / str(entry.file), request)
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
        assert best == choice.pick(found.table, size)
    assert (found.validation_samples, found.max_accuracy_drop) == (50, 0.5)


def test_where_no_count_of_threads_fits_one_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "usable_cores", lambda: 2)
    found = choose(folder, batch_sizes=(1,), threads=(64,))
    assert {row.threads for row in found.table} == {1}


def test_without_an_engine_nothing_is_chosen(folder: Path, tmp_path: Path) -> None:
    SIGNATURE.write(tmp_path)
    found = choice.choose(ENTRIES[3:], tmp_path, PIXELS, LABELS, Build())
    assert (found.table, found.chosen) == ((), {})
    assert choice.read(tmp_path) == {}


def row(engine: str, p50: float, spread: float = 0.0, **other: Any) -> Candidate:
    known = {"batch_size": 1, "threads": 1, "top1": 0.9, "within_budget": True, "stable": True}
    interval = {"p50_low_ms": p50 - spread, "p50_ms": p50, "p50_high_ms": p50 + spread}
    return Candidate(engine=engine, **{**known, **interval, **other})


def chosen(*rows: Candidate) -> str:
    found = choice.pick(rows, 1)
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


def test_where_nothing_is_within_the_budget_the_most_accurate_is_chosen() -> None:
    rows = [row("good", 2.0, within_budget=False), row("bad", 1.0, within_budget=False, top1=0.1)]
    assert chosen(*rows) == "good"
    assert choice.pick(rows, 1).within_budget is False  # type: ignore[union-attr]


def test_other_batch_sizes_do_not_matter() -> None:
    assert chosen(row("one", 2.0), row("eight", 1.0, batch_size=8)) == "one"
    assert choice.pick([row("one", 2.0)], 8) is None


def names(top1: dict[str, float]) -> dict[EngineName, float]:
    return {EngineName.parse(name): share for name, share in top1.items()}


@pytest.mark.parametrize(
    ("samples", "drop", "allowed"),
    [
        (1000, 0.5, {"a.fp32", "b.int8"}),  # 4 and 6 images lost
        (1000, 0.6, {"a.fp32", "b.int8", "c.int8"}),
        (1000, 0.0, {"a.fp32"}),
        (166, 0.0, {"a.fp32", "b.int8", "c.int8"}),  # one image, whatever the budget
        (500, 0.59, {"a.fp32", "b.int8"}),  # 2 and 3 images lost, 2 allowed
    ],
)
def test_the_budget_is_counted_from_the_float32_engine(
    samples: int, drop: float, allowed: set[str]
) -> None:
    top1 = names({"a.fp32": 0.9, "b.int8": 0.896, "c.int8": 0.894})
    assert set(map(str, choice.within_budget(top1, samples, drop))) == allowed


def test_without_a_float32_engine_the_best_is_the_measure() -> None:
    top1 = names({"a.int8": 0.9, "b.int8": 0.8})
    assert choice.within_budget(top1, 1000, 0.5) == {EngineName("a", "int8")}
    assert choice.within_budget({}, 1000, 0.5) == set()


@pytest.mark.parametrize("text", ["{", "[]", '{"1": {"engine": "litert.int8"}}', '{"one": {}}'])
def test_a_damaged_choice_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / choice.FILE).write_text(text)
    with pytest.raises(EngineError, match=r"choice\.json.* is damaged") as caught:
        choice.read(tmp_path)
    assert caught.value.hint == "run: pipeline run build --force"
