from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.report import render
from pipeline.results import gate
from pipeline.results.model import GateResult, Report
from stages.errors import ArtifactError, GateFailed
from stages.settings import Gates
from tests.pipeline.records import accuracy, changed, records, report_of, row


def engine(
    backend: str, right: int, p50_ms: float, batch_size: int = 1, state: str = "ran"
) -> dict[str, Any]:
    """An INT8 engine that got `right` of 1,000 images right."""
    return {
        "backend": backend,
        "precision": "int8",
        "file": f"{backend}.int8",
        "state": state,
        "accuracy": accuracy(right, samples=1000),
        "latency": [row(backend, "int8", batch_size, p50_ms)],
    }


def judged(found: Report, **limits: float) -> GateResult:
    (result,) = gate.judge(found, limits)
    return result


def drop(found: Report, points: float) -> str:
    """The state of the accuracy gate."""
    return judged(found, max_accuracy_drop=points).state


def report(*engines: dict[str, Any], **build_details: Any) -> Report:
    """A model with 99 % and engines of 23.3 kB, as the benchmark ran them."""
    run = records()
    run["train"]["measurements"]["accuracy"] = accuracy(990, samples=1000)
    build, benchmark = run["build"], run["benchmark"]
    build["measurements"]["details"] = build_details
    benchmark["measurements"]["engines"] = list(engines)
    benchmark["inputs"] = {}
    build["files"] = {each["file"]: {"sha256": "0" * 64, "size_bytes": 23_300} for each in engines}
    return report_of(run)


def test_an_engine_within_the_gate_passes() -> None:
    assert drop(report(engine("litert", 986, 0.1)), 0.5) == "passed"


def test_a_loss_of_exactly_the_allowed_points_passes() -> None:
    for right in range(900, 991):
        assert drop(report(engine("litert", right, 0.1)), (990 - right) / 10) == "passed"


def test_an_engine_better_than_the_model_passes_a_gate_of_zero() -> None:
    result = judged(report(engine("litert", 995, 0.1)), max_accuracy_drop=0.0)
    assert result.state == "passed"
    assert "0.50 points above the trained model" in result.reason


@pytest.mark.parametrize(
    ("limits", "got", "words"),
    [
        (
            {"max_accuracy_drop": 1.0},
            1.1,
            "gates.max_accuracy_drop missed: litert int8 has 97.90 % top-1 accuracy, "
            "1.10 points below the trained model; allowed are 1 points",
        ),
        (
            {"max_p50_ms": 0.05},
            0.1,
            "gates.max_p50_ms missed: litert int8 takes 0.100 ms (p50) at batch 1; "
            "allowed are 0.05 ms",
        ),
        (
            {"max_size_mb": 0.02},
            0.0233,
            "gates.max_size_mb missed: litert int8 has 23.3 kB; allowed are 0.02 MB",
        ),
    ],
)
def test_a_missed_gate_says_what_was_got_what_is_allowed_and_of_which_engine(
    limits: dict[str, float], got: float, words: str
) -> None:
    result = judged(report(engine("litert", 979, 0.1)), **limits)
    assert (result.engine, result.state) == ("litert int8", "missed")
    assert result.got == pytest.approx(got)
    with pytest.raises(GateFailed) as caught:
        gate.enforce([result])
    assert caught.value.message == words
    assert caught.value.hint == gate.GATES[result.gate].hint
    assert caught.value.exit_code == 3


def test_a_gate_that_is_just_missed_says_by_how_much() -> None:
    just = judged(report(engine("litert", 990, 0.10004)), max_p50_ms=0.1)
    assert just.reason == (
        "litert int8 takes 0.100 ms (p50) at batch 1; allowed are 0.1 ms, missed by 4e-05"
    )


@pytest.mark.parametrize("limits", [{"max_p50_ms": 0.1}, {"max_size_mb": 0.0233}])
def test_latency_and_size_of_exactly_the_limit_pass(limits: dict[str, float]) -> None:
    assert judged(report(engine("litert", 990, 0.1)), **limits).state == "passed"


def test_every_missed_gate_is_a_line_and_those_that_passed_are_none() -> None:
    found = report(engine("litert", 979, 0.1))
    results = gate.judge(found, {"max_accuracy_drop": 5.0, "max_p50_ms": 0.05, "max_size_mb": 0.02})
    with pytest.raises(GateFailed) as caught:
        gate.enforce(results)
    lines = caught.value.message.splitlines()
    assert [line.split()[0] for line in lines] == ["gates.max_p50_ms", "gates.max_size_mb"]
    gate.enforce(results[:1])


def test_a_limit_within_the_interval_of_the_latency_is_said_to_be_too_close() -> None:
    close = engine("litert", 990, 0.1)
    close["latency"][0].update(p50_low_ms=0.09, p50_high_ms=0.11)
    sure = "too close to be sure (95 % interval: 0.0900 to 0.110 ms)"
    assert sure in judged(report(close), max_p50_ms=0.095).reason
    assert sure in judged(report(close), max_p50_ms=0.105).reason
    assert sure not in judged(report(close), max_p50_ms=0.05).reason
    assert sure not in judged(report(close), max_size_mb=0.1).reason


def test_the_fastest_engine_at_the_smallest_batch_decides() -> None:
    slow, fast = engine("slow", 990, 0.2), engine("fast", 900, 0.1)
    large = engine("large", 990, 0.01, batch_size=32)
    found = judged(report(slow, fast, large), max_accuracy_drop=1.0)
    assert (found.engine, found.state) == ("fast int8", "missed")
    assert drop(report(engine("slow", 900, 0.2), engine("fast", 990, 0.1)), 1.0) == "passed"


def test_the_engine_that_build_chose_decides_where_it_chose_one() -> None:
    chosen = {"engine": "slow.int8", "threads": 1, "stable": True, "within_budget": True}
    engines = engine("slow", 990, 0.2), engine("fast", 900, 0.1)
    found = report(*engines, choice={"chosen": {"1": chosen}})
    result = judged(found, max_p50_ms=0.15)
    assert (result.engine, result.state) == ("slow int8", "missed")


@pytest.mark.parametrize("engines", [(), (engine("tensorrt", 990, 0.1, state="built_not_run"),)])
@pytest.mark.parametrize("name", ["max_accuracy_drop", "max_p50_ms", "max_size_mb"])
def test_a_benchmark_in_which_no_engine_ran_misses_its_gates(
    engines: tuple[dict[str, Any], ...], name: str
) -> None:
    with pytest.raises(GateFailed, match=f"gates.{name} missed: nothing to compare") as caught:
        gate.enforce(gate.judge(report(*engines), {name: 1.0}))
    assert caught.value.hint == "which engines run here: pipeline doctor"


def test_without_a_benchmark_of_the_present_model_nothing_is_judged_and_nothing_fails() -> None:
    outdated = report_of(changed(records(), "train"))
    for found in (outdated, report_of(records("train"))):
        results = gate.judge(found, {"max_accuracy_drop": 0.0, "max_p50_ms": 0.1})
        assert [result.state for result in results] == ["not judged"] * 2
        gate.enforce(results)


def test_the_gates_are_the_settings_of_their_section() -> None:
    assert list(gate.GATES) == list(Gates.model_fields)
    assert gate.limits_of(Gates(max_p50_ms=0.5)) == {"max_p50_ms": 0.5}
    assert gate.limits_of(Gates()) == {}


def with_gates(found: Report, limits: Mapping[str, float]) -> Report:
    """The report with its gates judged, as `pipeline run` publishes it."""
    gates = tuple(gate.judge(found, limits))
    return found.model_copy(update={"gates": gates, "verdict": tuple(map(gate.in_words, gates))})


def test_the_limits_of_the_last_run_are_in_its_report(tmp_path: Path) -> None:
    limits = {"max_accuracy_drop": 0.5, "max_size_mb": 1.0}
    found = with_gates(report(engine("litert", 990, 0.1)), limits)
    (tmp_path / "report.json").write_text(render(found, "json"))
    assert gate.limits_before(tmp_path) == limits


def test_without_a_report_there_are_no_limits(tmp_path: Path) -> None:
    assert gate.limits_before(tmp_path) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"gates": [{"gate": "x"}]}'])
def test_limits_do_not_vanish_with_a_damaged_report(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"report\.json is damaged") as caught:
        gate.limits_before(tmp_path)
    assert caught.value.hint == "run: pipeline run report"


@pytest.mark.parametrize("format", ["md", "html", "json", "csv"])
def test_every_format_of_the_report_says_which_gate_was_missed(format: str) -> None:
    limits = {"max_p50_ms": 0.05, "max_size_mb": 0.5}
    text = render(with_gates(report(engine("litert", 979, 0.1)), limits), format)
    assert "takes 0.100 ms (p50) at batch 1; allowed are 0.05 ms" in text
    for name in ("max_p50_ms", "max_size_mb"):
        assert name in text


def test_judged_gates_satisfy_the_schema_of_the_report() -> None:
    schema = json.loads(files("pipeline.report").joinpath("report.schema.json").read_text())
    limits = {"max_accuracy_drop": 0.5, "max_p50_ms": 0.01, "max_size_mb": 1.0}
    for found in (report(engine("litert", 990, 0.1)), report(), report_of(records("train"))):
        results = [result.model_dump(mode="json") for result in gate.judge(found, limits)]
        jsonschema.validate(results, {**schema["properties"]["gates"], "$defs": schema["$defs"]})
