"""The training and the test part of a CSV file: what stands in their rows, and what no row may say.

The part is told by a column, or the test part has a CSV file of its own, with the same columns.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.datasets import csv_targets, download
from stages.datasets.base import Part, required_path
from stages.datasets.csv_columns import PARTS, Columns, columns_of, listed
from stages.errors import DataError, shown
from stages.settings import Data, listing
from stages.settings.listing import Listing


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one part, and where each stands.

    What is right of an image is in one of `labels`, `numbers` float64 (N, columns) and `masks`,
    whichever of them the file has; `groups` has none without a column.
    """

    table: Path
    files: Sequence[Path]
    labels: Sequence[str]
    numbers: NDArray[np.float64]
    masks: Sequence[Path]
    groups: Sequence[str]
    places: Sequence[str]


def parts(settings: Data) -> dict[Part, Rows]:
    """Both parts of the file at data.path, and of that at data.test_path if it is set.

    Raises DataError where columns are uncertain, for cells that are missing or not fit, for a file
    that two rows name (through links too), a label that only the test part has and a group that
    both parts have.
    """
    first = _table(settings)
    columns = columns_of(first, settings)
    if settings.test_path:
        second = listing.read(_absolute(_existing(settings.test_path)))
        both = {"train": _rows(first, columns), "test": _rows(second, columns)}
    else:
        both = {part: _rows(first, columns, part) for part in PARTS}
    train, test = both["train"], both["test"]
    _refuse_repeated(train, test)
    if columns.label is not None:
        places = [*train.places, *test.places]
        csv_targets.refuse_spellings(zip([*train.labels, *test.labels], places, strict=True))
        _refuse_unknown(train, test)
    _refuse_straddling(train, test, columns.group)
    return {"train": train, "test": test}


def sorted_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Each label once: whole numbers in their order, anything else in that of the alphabet."""
    names = sorted(set(labels))
    is_numbered = all(name.isascii() and name.isdigit() for name in names)
    return tuple(sorted(names, key=int)) if is_numbered else tuple(names)


def _table(settings: Data) -> Listing:
    if settings.path and download.is_address(settings.path):
        raise DataError(
            f"data.path is {shown(settings.path)}, expected a CSV file on this machine: the images "
            "that it names lie beside it",
            "fetch it together with its images",
        )
    return listing.read(_absolute(required_path(settings)))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _existing(test_path: str) -> Path:
    if not os.path.exists(test_path):
        raise DataError(
            f"data.test_path names {shown(test_path)}, but there is no such file",
            "check the spelling; a relative path starts at the working directory",
        )
    return Path(test_path)


def _rows(table: Listing, columns: Columns, part: Part | None = None) -> Rows:
    """The rows of `part`, or all of them. Raises DataError for a cell that is not fit."""
    chosen = [
        row
        for row, line in enumerate(table.lines)
        if part is None or _part(table, columns, row, line) == part
    ]
    if not chosen:
        raise DataError(
            f"{table.file} has no row of {part} in its column {shown(columns.split)}",
            "expected rows of train and rows of test",
        )
    places = [f"{table.file}, line {table.lines[row]}" for row in chosen]
    read: dict[str | None, list[str]] = {
        name: _filled(table, name, setting, chosen)
        for setting, name in columns.by_setting()
        if setting != "split_column"
    }
    if columns.label is not None:
        for label, place in zip(read[columns.label], places, strict=True):
            csv_targets.check_label(label, place, columns.label)
    numbers = [csv_targets.numbers(read[name], places, name) for name in columns.targets]
    return Rows(
        table.file,
        [table.path(cell) for cell in read[columns.file]],
        read.get(columns.label, []),
        np.stack(numbers, axis=1) if numbers else np.empty((len(chosen), 0)),
        [table.path(cell) for cell in read.get(columns.mask, [])],
        read.get(columns.group, []),
        places,
    )


def _part(table: Listing, columns: Columns, row: int, line: int) -> str:
    cell = table.columns[columns.split or ""][row]
    if cell.casefold() not in PARTS:
        raise DataError(
            f"{table.file}, line {line}: {shown(columns.split)} is {shown(cell)}, expected train "
            "or test",
            "call rows for validation train: validation images are taken out of the training part",
        )
    return cell.casefold()


def _filled(table: Listing, name: str, setting: str, chosen: Sequence[int]) -> list[str]:
    cells = table.columns[listing.known(table, name, setting)]
    empty = next((row for row in chosen if not cells[row]), None)
    if empty is not None:
        raise DataError(
            f"{table.file}, line {table.lines[empty]}: nothing in the column {shown(name)}",
            "fill it in, or remove the row",
        )
    return [cells[row] for row in chosen]


def _refuse_repeated(train: Rows, test: Rows) -> None:
    """An image in two rows would be in two splits, or have two labels."""
    seen: dict[str, str] = {}
    for rows in (train, test):
        for file, place in zip(rows.files, rows.places, strict=True):
            real = os.path.realpath(file)
            if real in seen:
                link = "" if real == str(file) else f"{file} is "
                raise DataError(
                    f"{place}: {link}{real} again, which {seen[real]} has, expected each file once",
                    "remove one of the rows; an image has one label",
                )
            seen[real] = place


def _refuse_unknown(train: Rows, test: Rows) -> None:
    known = set(train.labels)
    for label, place in zip(test.labels, test.places, strict=True):
        if label not in known:
            raise DataError(
                f"{place}: the label {shown(label)}, which no training image has: the model could "
                f"never answer it; they have {listed(sorted(known))}",
                "add training images of this class, or remove its test images",
            )


def _refuse_straddling(train: Rows, test: Rows, column: str | None) -> None:
    shared = sorted(set(train.groups) & set(test.groups))
    if shared:
        raise DataError(
            f"{len(shared)} of {len(set(train.groups) | set(test.groups))} groups in "
            f"{shown(column)} are in both train and test, the first is {shown(shared[0])}",
            "give each group to one part",
        )
