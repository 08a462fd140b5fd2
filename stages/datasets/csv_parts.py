"""The training and the test part of a CSV file: which columns tell what, and what no row may say.

The part is told by a column, or the test part has a CSV file of its own, with the same columns.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from stages.datasets import download
from stages.datasets.base import Part, is_control, required_path
from stages.errors import DataError, shown
from stages.settings import Data, listing
from stages.settings.listing import Listing

PARTS: tuple[Part, ...] = get_args(Part)
LABELS = ("class", "label")
"""What a column is called, in any case, that surely holds the labels."""
MOST_NAMES = 10


@dataclass(frozen=True)
class Columns:
    """Names of the columns; `group` and `split` may be none."""

    file: str
    label: str
    group: str | None
    split: str | None


@dataclass(frozen=True)
class Rows:
    """The rows of one part: files, labels, groups (none without a column), where each stands."""

    table: Path
    files: Sequence[Path]
    labels: Sequence[str]
    groups: Sequence[str]
    places: Sequence[str]


def parts(settings: Data) -> dict[Part, Rows]:
    """Both parts of the file at data.path, and of that at data.test_path if it is set.

    Raises DataError where columns are uncertain, for cells that are missing or not fit, for a file
    that two rows name (through links too), a label that only the test part has and a group that
    both parts have.
    """
    first = _table(settings)
    columns = _columns(first, settings)
    if settings.test_path:
        second = listing.read(_absolute(_existing(settings.test_path)))
        both = {"train": _rows(first, columns), "test": _rows(second, columns)}
    else:
        both = {part: _rows(first, columns, part) for part in PARTS}
    train, test = both["train"], both["test"]
    _refuse_repeated(train, test)
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


def _columns(table: Listing, settings: Data) -> Columns:
    """Those that are set, and the others where they are certain. Raises DataError."""
    split = _split_column(table, settings)
    group = settings.group_column and listing.known(table, settings.group_column, "group_column")
    file = listing.file_column(table, settings.file_column, settings.other_columns)
    label = _label_column(table, settings, (file, group, split))
    roles = {"file": file, "label": label, "group": group, "split": split}
    taken: dict[str, str] = {}
    for role, name in roles.items():
        if name is not None and taken.setdefault(name, role) != role:
            raise DataError(
                f"{table.file}: the column {shown(name)} is {taken[name]} and {role} column, "
                "expected a column for each",
                f"name another one: --set data.{role}_column=COLUMN",
            )
    return Columns(file, label, group, split)


def _split_column(table: Listing, settings: Data) -> str | None:
    """The column that tells the parts, None with a second file. Raises DataError."""
    if settings.test_path is not None:
        return None
    if settings.split_column is not None:
        return listing.known(table, settings.split_column, "split_column")
    found = [
        name
        for name, cells in table.columns.items()
        if {each.casefold() for each in cells} == set(PARTS) and name != settings.label_column
    ]
    if len(found) != 1:
        raise DataError(
            f"{table.file} has {'two columns' if found else 'no column'} of train and test, "
            "expected one, or a second file for the test part",
            "--set data.split_column=COLUMN, or --set data.test_path=FILE",
        )
    return found[0]


def _label_column(table: Listing, settings: Data, others: Collection[str | None]) -> str:
    if settings.label_column is not None:
        return listing.known(table, settings.label_column, "label_column")
    left = [name for name in table.columns if name and name not in others]
    certain = [name for name in left if name.casefold() in LABELS] or left
    if len(certain) != 1:
        got = f"may be in {_listed(certain)}" if certain else "are in no column"
        raise DataError(
            f"{table.file}: the labels {got}, expected one column",
            "name it: --set data.label_column=COLUMN",
        )
    return certain[0]


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
    files = _filled(table, columns.file, "file_column", chosen)
    labels = _filled(table, columns.label, "label_column", chosen)
    groups = _filled(table, columns.group, "group_column", chosen) if columns.group else []
    for label, place in zip(labels, places, strict=True):
        _check_label(label, place, columns.label)
    return Rows(table.file, [table.path(file) for file in files], labels, groups, places)


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


def _check_label(label: str, place: str, column: str) -> None:
    """A class has a name: neither NaN nor a measured number, and fit for files and reports."""
    try:
        number = float(label)
    except ValueError:
        number = 0.0
    if math.isnan(number) or math.isinf(number) or number != int(number):
        raise DataError(
            f"{place}: {shown(column)} is {shown(label)}, expected the name or number of a class",
            "fill it in or remove the row; what is measured cannot be learnt as a class",
        )
    if any(map(is_control, label)):
        raise DataError(
            f"{place}: the label {label!a} holds control characters", "rename the class"
        )


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
                f"never answer it; they have {_listed(sorted(known))}",
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


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join([*map(shown, names[:MOST_NAMES]), *more])
