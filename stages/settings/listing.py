"""A CSV file that lists images: its columns, and which of them names the files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.errors import DataError, nearest, shown, suggestion

LOOKED_AT = 20
"""Rows that tell which column names files."""


@dataclass(frozen=True)
class Listing:
    """The cells of `file` by column, without the blanks around them, and the line of each row."""

    file: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def path(self, cell: str) -> Path:
        """Where an image lies that is named relative to the file."""
        return Path(os.path.normpath(self.file.parent / cell))


def read(file: Path) -> Listing:
    """The CSV `file`: commas, UTF-8, the names of the columns in its first line.

    Raises DataError for what is no such file, and for a row with cells too few or too many.
    """
    if not file.is_file():
        raise DataError(f"{file} is no file, expected a CSV file", "check data.path")
    try:
        text = file.read_bytes().decode("utf-8-sig")  # Excel writes a BOM
        if "\0" in text:
            raise csv.Error("it holds NUL")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} cannot be read as a CSV file ({str(error)[:200]})",
            "save it with commas, in UTF-8",
        ) from error
    if len(rows) < 2:
        raise DataError(f"{file} has no row below the names of its columns", _LAYOUT)
    (_, names), *below = rows
    names = [name.strip() for name in names]
    twice = [name for name in names if names.count(name) > 1]
    if len(names) < 2 or twice:
        got = f"two columns called {shown(twice[0])}" if twice else f"one column, {shown(names[0])}"
        raise DataError(f"{file} has {got}, expected two or more, separated by commas", _LAYOUT)
    for line, row in below:
        if len(row) != len(names):
            raise DataError(
                f"{file}, line {line}: {len(row)} cells, expected {len(names)}, one per column",
                "put a cell that holds a comma in double quotes",
            )
    cells = zip(*(row for _, row in below), strict=True)
    columns = {
        name: [each.strip() for each in cell] for name, cell in zip(names, cells, strict=True)
    }
    listing = Listing(file, columns, [line for line, _ in below])
    _refuse_headless(listing)
    return listing


def _refuse_headless(listing: Listing) -> None:
    for name in listing.columns:
        if "." in name and os.path.isfile(listing.path(name)):
            raise DataError(
                f"{listing.file} begins with {shown(name)}, which is a file, expected the names of "
                "the columns in its first line",
                f"write them above all rows, {_LAYOUT}",
            )


_LAYOUT = "as in: file,label,split / a.png,cat,train / b.png,dog,test"


def known(listing: Listing, wanted: str, setting: str) -> str:
    """`wanted`, which is a column. Raises DataError where it is not."""
    if wanted not in listing.columns:
        names = ", ".join(map(shown, listing.columns))
        close = suggestion(nearest(wanted, listing.columns))
        raise DataError(
            f"{listing.file} has no column {shown(wanted)}{close}; it has {names}",
            f"name one of them: --set data.{setting}=COLUMN",
        )
    return wanted


def file_column(listing: Listing, wanted: str | None, others: Collection[str | None]) -> str:
    """The column of the images' files: `wanted`, or the only one but `others` that names any.

    Raises DataError where that is not certain.
    """
    if wanted is not None:
        return known(listing, wanted, "file_column")
    found = [
        name
        for name, cells in listing.columns.items()
        if name not in others
        and any(os.path.isfile(listing.path(cell)) for cell in cells[:LOOKED_AT])
    ]
    if len(found) != 1:
        got = f"the columns {', '.join(map(shown, found))} name" if found else "no column names"
        first = next(iter(listing.columns.values()))[0]
        raise DataError(
            f"{listing.file}: {got} files that exist beside it, expected one column that does"
            f"{'' if found else f'; its first row has {shown(first)}'}",
            "paths are relative to the CSV file; to name one: --set data.file_column=COLUMN",
        )
    return found[0]


def files(
    tables: Sequence[Path],
    wanted: str | None,
    others: Collection[str | None],
    setting: str = "file_column",
) -> dict[str, Path]:
    """Files by the names that the CSV files `tables`, with the same columns, have for them.

    They are in the column `wanted`, of that `setting`, or that of the images. Raises DataError.
    """
    listings = [read(table) for table in tables]
    column = wanted or (file_column(listings[0], None, others) if listings else "")
    return {
        cell: each.path(cell)
        for each in listings
        for cell in each.columns[known(each, column, setting)]
    }
