from __future__ import annotations

import re

from pipeline.report import markdown
from tests.pipeline.records import records, report_of


def test_every_line_of_a_table_has_as_many_cells_as_its_heading() -> None:
    lines = markdown.render(report_of()).splitlines()
    blocks = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    tables = [block.strip().splitlines() for block in blocks if block.strip()]
    assert len(tables) >= 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_numbers_are_set_to_the_right_and_words_to_the_left() -> None:
    text = markdown.render(report_of(records("train")))
    assert "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |" in text


def test_reasons_are_listed_with_the_command_that_changes_them() -> None:
    text = markdown.render(report_of())
    assert (
        "- tensorrt fp32, fp16, int8 (unavailable): package tensorrt is not installed."
        " To change that: `pip install 'keras-trt-pipeline[gpu]'`" in text
    )


def test_markup_in_a_reason_is_plain_text() -> None:
    found = records()
    engine = found["benchmark"]["measurements"]["engines"][3]
    engine["reason"] = "<script>alert(1)</script> | `code`\n# heading"
    engine["fix"] = "a `quoted` command"
    text = markdown.render(report_of(found))
    assert "<script" not in text
    assert "&lt;script>alert(1)&lt;/script> \\| \\`code\\` # heading" in text
    assert "`a 'quoted' command`" in text


def test_names_with_underscores_stay_readable() -> None:
    assert markdown.plain("tensorrt_rtx _x_") == "tensorrt_rtx \\_x\\_"


def test_p99_of_few_samples_is_marked() -> None:
    assert "0.800 (indicative)" in markdown.render(report_of(records("train")))


def test_the_engine_is_taken_home_by_an_export() -> None:
    assert "to take it home: `pipeline export --to PATH`" in markdown.render(report_of(records()))
