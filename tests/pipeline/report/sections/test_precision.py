from __future__ import annotations

import pytest

from pipeline.report.sections import precision
from pipeline.results.assemble import assemble
from tests.pipeline.records import records
from tests.pipeline.report.full_run import full_report


@pytest.mark.parametrize(
    ("word", "family"),
    [
        ("int8", "int8"),
        ("INT8", "int8"),
        ("s8", "int8"),
        ("float16", "fp16"),
        ("Half", "fp16"),
        ("f32", "fp32"),
        ("float", "fp32"),
        ("bf16", "bf16"),
        (None, "any"),
    ],
)
def test_the_words_of_the_runtimes_name_one_precision(word: str | None, family: str) -> None:
    assert precision.family(word) == family


def test_layers_that_run_in_another_precision_come_first_and_are_counted() -> None:
    grid = precision.layer_grid(full_report())
    assert [row[1] for row in grid.rows] == ["dense", "conv1", "softmax"]
    assert grid.rows[0] == ("litert.int8", "dense", "Gemm", "INT8", "fp32", "gemm_1")
    assert grid.rows[2][3] == "any"
    assert grid.notes == ("litert.int8: 1 of 3 layers run in another precision than asked.",)


def test_engines_that_do_not_tell_have_no_table() -> None:
    assert precision.layer_grid(assemble(records(), {})).rows == ()
