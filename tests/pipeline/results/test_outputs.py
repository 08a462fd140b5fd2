from __future__ import annotations

from typing import Any

import pytest

from pipeline.results import outputs
from pipeline.results.model import Report
from tests.pipeline.records import records, report_of
from tests.pipeline.report.several_run import OUTPUTS, alone, together


def dumped(report: Report) -> dict[str, Any]:
    """All but sentences, and what the benchmark says of the baseline, which has an entry itself."""
    found = report.model_dump(exclude={"verdict"})
    for stage in found["stages"]:
        stage["details"].pop("baseline", None)
    return found


def test_the_outputs_are_in_the_order_of_the_network() -> None:
    assert [name for name, _ in outputs.each(together())] == list(OUTPUTS)


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_report_of_an_output_is_that_of_a_network_with_it_alone(name: str) -> None:
    assert dumped(dict(outputs.each(together()))[name]) == dumped(alone(name))


def test_a_network_with_one_output_has_none() -> None:
    for report in (report_of(), alone("there"), report_of(records("train"))):
        assert list(outputs.each(report)) == []


def test_of_a_benchmark_that_told_of_no_output_only_the_metrics_are_known() -> None:
    found = together()
    stages = [
        each.model_copy(update={"details": each.details.model_copy(update={"outputs": {}})})
        if each.stage == "benchmark"
        else each
        for each in found.stages
    ]
    earlier = found.model_copy(update={"stages": tuple(stages)})
    own = dict(outputs.each(earlier))["there"]
    assert own.baseline.accuracy.score == 0.97
    details = own.stages[-1].details
    assert (details.classification, details.changed, details.shown) == ({}, None, None)  # type: ignore[attr-defined]
