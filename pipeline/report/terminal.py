"""The report in a terminal; cells are `Text`, so that "[gpu]" in a command is no markup."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from pipeline.report import contents
from pipeline.report.tables import NotRun, Table
from pipeline.results.model import Report


def table(report: Report) -> Group:
    """What a run ends with: stages, engines, why some did not run, and the verdict."""
    return Group(*_parts(report))


def _parts(report: Report) -> Iterator[RenderableType]:
    for table in contents.tables(report, "terminal"):
        if table.rows:
            yield from (Text(), Drawn(table))
            yield from (Text(note, style="dim") for note in table.notes)
        yield from map(_reason, table.not_run)
    yield Text()
    yield from (Text(line, style="bold") for line in report.verdict)


def _reason(engines: NotRun) -> Text:
    text = Text(f"{engines.names} ({engines.state}): {engines.reason}", style="dim")
    return text.append(f"\n  to change that: {engines.fix}") if engines.fix else text


@dataclass(frozen=True)
class Drawn:
    """A table that breaks its words, then closes its gaps, before it cuts anything off."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RichTable]:
        columns = range(len(self.table.columns))
        narrowest = [max(map(len, self._pieces(index))) for index in columns]
        padding = int(sum(narrowest) + 2 * (len(columns) - 1) <= options.max_width)
        slack = options.max_width - sum(narrowest) - (1 + padding) * (len(columns) - 1)
        drawn = RichTable(
            box=box.SIMPLE_HEAD, padding=(0, padding, 0, 0), show_edge=False, pad_edge=False
        )
        for index, width in enumerate(self._widen(narrowest, slack)):
            name = Text(self.table.columns[index])
            is_words = self.table.is_words(index)
            drawn.add_column(name, justify="left" if is_words else "right", width=width)
        for cells in self.table.rows:
            drawn.add_row(*map(Text, cells))
        yield drawn

    def _widen(self, widths: list[int], slack: int) -> list[int]:
        """Give spare characters to words first, then to the headings of numbers."""
        widths = list(widths)
        for index in sorted(range(len(widths)), key=self.table.is_words, reverse=True):
            wanted = max(map(len, self._cells(index))) - widths[index]
            if wanted <= slack or self.table.is_words(index):
                added = max(0, min(wanted, slack))
                widths[index] += added
                slack -= added
        return widths

    def _cells(self, column: int) -> list[str]:
        return [self.table.columns[column], *(cells[column] for cells in self.table.rows)]

    def _pieces(self, column: int) -> list[str]:
        """What stays on one line: words, but numbers with their unit, "p50 ms," and "batch 1"."""
        if self.table.is_words(column):
            return " ".join(self._cells(column)).split()
        name, *cells = self._cells(column)
        return [*name.replace(", ", ",\n").split("\n"), *cells]
