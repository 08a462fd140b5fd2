from __future__ import annotations

from typing import Any

import pytest

from pipeline.results import gate, parity
from pipeline.results.model import Report
from stages.errors import GateFailed
from stages.settings import Gates
from tests.pipeline.records import changed, records, report_of
from tests.pipeline.report.full_run import parity_check

STRICT = gate.limits_of(Gates(parity=True))


def run(convert: dict[str, Any] | None = None, build: dict[str, Any] | None = None) -> Report:
    found = records()
    found["convert"]["measurements"]["details"] = convert or {}
    found["build"]["measurements"]["details"] = build or {}
    return report_of(found)


def layers(passes: bool) -> dict[str, Any]:
    worst = None if passes else "conv2"
    counts = {"elements": 900, "off_by_one": 0, "off_by_more": 0 if passes else 40}
    return {"layer_parity": {**counts, "worst_point": worst, "passes": passes}}


BROKEN = run(
    {"parity_checks": [parity_check("a.onnx", 0.1), parity_check("b.onnx", 9.0, passed=False)]},
    {"parity_checks": [parity_check("c.int8", 9.0, passed=False)]},
)


def test_the_verdict_begins_with_the_first_mismatch() -> None:
    assert BROKEN.verdict[0] == (
        "Parity fails in 2 of 3 checks, first in b.onnx: "
        "do not deploy these engines before the cause is known."
    )
    assert "litert int8" in BROKEN.verdict[1]


def test_the_node_from_which_on_an_engine_is_off_is_named_in_the_sentence() -> None:
    first = {"tensor": "x", "node": "conv2", "max_relative_difference": 0.5, "builds": 4}
    checks = [parity_check("tensorrt.int8", 9.0, passed=False)]
    broken = run({}, {"parity_checks": checks, "divergences": {"tensorrt.int8": first}})
    assert "first in tensorrt.int8 (from conv2 on): do not deploy" in broken.verdict[0]


def test_where_everything_agrees_the_verdict_says_nothing_of_it() -> None:
    sound = run({"parity_checks": [parity_check("a.onnx", 0.1)], **layers(passes=True)})
    assert parity.failure(sound) is None
    assert not any("arity" in line for line in sound.verdict)


def test_a_layer_that_is_wrong_is_named_before_any_output() -> None:
    broken = run({"parity_checks": [parity_check("a.onnx", 9.0, passed=False)], **layers(False)})
    assert (
        "first in model.int8.cpu.onnx in ONNX Runtime, layer by layer: conv2:" in broken.verdict[0]
    )


def test_checks_of_files_that_have_changed_since_are_not_counted() -> None:
    found = records()
    found["build"]["measurements"]["details"] = {"parity_checks": [parity_check("c", 9.0, False)]}
    assert parity.failure(report_of(found)) is not None
    assert parity.failure(report_of(changed(found, "convert"))) is None


def test_the_gate_of_parity_is_missed_by_one_check_that_fails() -> None:
    (result,) = gate.judge(BROKEN, STRICT)
    assert (result.state, result.got, result.limit, result.unit) == ("missed", 2, 0, "checks")
    with pytest.raises(GateFailed, match=r"gates\.parity missed: 2 of 3 .* first is b\.onnx") as e:
        gate.enforce([result])
    assert e.value.hint == gate.GATES["parity"].hint


def test_the_gate_of_parity_needs_no_benchmark() -> None:
    found = records("train", "prune", "quantize", "convert")
    found["convert"]["measurements"]["details"] = layers(passes=True)
    (result,) = gate.judge(report_of(found), STRICT)
    assert (result.state, result.reason) == ("passed", "all 1 parity checks hold")


def test_without_parity_checks_the_gate_is_not_judged() -> None:
    (result,) = gate.judge(report_of(records("train")), STRICT)
    assert result.state == "not judged"


def test_parity_is_a_gate_only_where_it_is_wanted() -> None:
    assert gate.limits_of(Gates()) == {}
    assert STRICT == {"parity": 0.0}
