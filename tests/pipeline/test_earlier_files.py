"""Files that version 0.1 wrote: they are read, compared and logged as ever.

`earlier/` holds a shortened report.json, a history of three runs of which it is the first, and
what `pipeline compare` and MLflow made of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.comparison import Run, compare, find, render
from pipeline.comparison.model import Comparison
from pipeline.integrations import mlflow
from pipeline.report.history_table import history_table
from pipeline.results import history, model, units
from pipeline.results.summary import summarize
from stages.results.conversion import ConvertDetails
from stages.results.engines import BuildDetails
from stages.results.quantization import QuantizeDetails
from stages.results.training import TrainDetails

EARLIER = Path(__file__).parent / "earlier"
A, B, OTHER_ENGINE = "aaaaaaaa", "bbbbbbbb", "cccccccc"


@pytest.fixture(scope="module")
def report() -> model.Report:
    return model.read((EARLIER / "report.json").read_bytes())


def predicted(run: str, wrong: range) -> Run:
    """The run of the history with predictions of its engine that miss these images."""
    labels = np.arange(360) % 10
    classes = labels.copy()
    classes[list(wrong)] += 1
    found = find(run, EARLIER)
    return Run(run, found.summary, {"labels": labels, "litert.int8": classes})


def test_a_report_keeps_what_the_stages_measured_under_their_former_names(
    report: model.Report,
) -> None:
    build = report.details(BuildDetails)
    assert build is not None
    assert build.choice is not None
    assert build.choice.chosen[1].engine == "litert.int8"
    assert build.parity_checks[0].passed
    assert build.onnxruntime_int8_kernels is not None
    assert build.onnxruntime_int8_kernels.integer > 0
    for kind in (TrainDetails, QuantizeDetails):
        details = report.details(kind)
        assert details is not None
        assert details.history[0].epoch == 1
    convert = report.details(ConvertDetails)
    assert convert is not None
    assert convert.parity_checks[0].passed


def test_a_report_is_the_run_of_its_line_in_the_history(report: model.Report) -> None:
    found = dict(find(A, EARLIER).summary)
    expected = dict(summarize(report))
    assert {**found, "time": expected["time"]}.items() >= expected.items()


def test_lines_of_the_history_are_read_as_they_were() -> None:
    runs, faults = history.read(EARLIER)
    assert faults == []
    for run, line in zip(runs, (EARLIER / history.FILE).read_bytes().splitlines(), strict=True):
        expected = json.loads(line)
        for facts in ("conditions", "environment"):
            expected[facts] = without_none(expected[facts])
        expected |= {"state": "done", "ended_at": None, "error": None, "options": []}
        assert run.to_json() == expected


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def test_the_history_is_shown_as_ever() -> None:
    rows = history_table(history.read(EARLIER)[0]).rows
    date, trained = "2026-07-0{} 11:00", "98.33 %"
    litert, onnx = ("litert.int8", "98.33 %"), ("onnxruntime.int8", "98.33 %")
    assert rows == (
        (A, date.format(1), trained, *litert, "-", "0.0151", "-", "37.2 kB", "", ""),
        (B, date.format(2), trained, *litert, "0.00", "0.0113", "-25.0", "30 kB", "passed",
         "prune.ratio 0.5 -> 0.6"),
        (OTHER_ENGINE, date.format(3), trained, *onnx, "0.00", "0.0406", "+259.4", "35.5 kB", "",
         "prune.ratio 0.6 -> 0.5"),
    )  # fmt: skip


def rounded(text: str) -> str:
    """JSON without the last digits of its numbers, which another processor may round otherwise."""
    return json.dumps(json.loads(text, parse_float=lambda digits: f"{float(digits):.9g}"))


def as_then(found: Comparison) -> str:
    """The JSON of a comparison of classifiers, without the key that came with other tasks."""
    content = json.loads(rounded(render(found, "json")))
    assert content.pop("scores") == []
    return json.dumps(content)


def test_two_runs_with_their_predictions_compare_as_ever() -> None:
    found = compare(predicted(A, range(12)), predicted(B, range(10, 30)))
    assert render(found, "md") == (EARLIER / "comparison.md").read_text()
    assert as_then(found) == rounded((EARLIER / "comparison.json").read_text())


def test_two_runs_that_chose_two_engines_compare_as_ever() -> None:
    found = compare(find(A, EARLIER), find(OTHER_ENGINE, EARLIER))
    expected = (EARLIER / "comparison.engines.json").read_text()
    assert as_then(found) == rounded(expected)


def test_mlflow_gets_the_same_parameters_tags_and_metrics(report: model.Report) -> None:
    expected, summary = json.loads((EARLIER / "mlflow.json").read_text()), summarize(report)
    assert units.spelled(summary.settings) == expected["params"]
    assert dict(mlflow.tags(summary)) == expected["tags"]
    found = sorted(mlflow.metrics(report, summary))
    assert found == sorted((name, value, step) for name, value, step in expected["metrics"])
