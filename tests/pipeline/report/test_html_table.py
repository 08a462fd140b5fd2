from __future__ import annotations

from pipeline.report.html import ENVIRONMENT, FEW_ROWS
from pipeline.report.tables import Table


def table(rows: int) -> Table:
    return Table("Title", "Caption", ("what", "value"), tuple((f"r{i}", "1") for i in range(rows)))


def drawn(table: Table, is_folded: bool = False) -> str:
    macros = ENVIRONMENT.get_template("table.html.j2").module
    return str(macros.show(table, is_folded))  # type: ignore[attr-defined]


def test_a_long_table_is_folded_away_and_says_how_long_it_is() -> None:
    assert "<details>" not in drawn(table(FEW_ROWS))
    text = drawn(table(FEW_ROWS + 1))
    assert f"<summary>Table: caption ({FEW_ROWS + 1} rows)</summary>" in text


def test_a_short_table_is_folded_where_a_figure_says_the_same() -> None:
    assert "(1 row)" in drawn(table(1), is_folded=True)


def test_a_table_without_rows_is_nothing() -> None:
    assert drawn(table(0)).strip() == ""


def test_cells_are_plain_text_and_unknown_ones_are_marked() -> None:
    text = drawn(Table("<i>", "<b>", ("what", "value"), (("<u>", "-"),)))
    assert "<i>" not in text
    assert "<b>" not in text
    assert "<u>" not in text
    assert 'class="words unknown"' in text
