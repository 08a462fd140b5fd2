"""Which column of a CSV file tells what: those that are set, and the others where they are certain.

The labels are in one column, or the targets in columns of numbers, or in files of masks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import get_args

from stages.datasets.base import Part, is_control
from stages.errors import DataError, shown
from stages.settings import Data, listing
from stages.settings.listing import Listing

PARTS: tuple[Part, ...] = get_args(Part)
LABELS = ("class", "label")
"""What a column is called, in any case, that surely holds the labels."""
MOST_NAMES = 10


@dataclass(frozen=True)
class Columns:
    """Names of the columns; one of `label`, `targets` and `mask` is there."""

    file: str
    label: str | None
    targets: tuple[str, ...]
    mask: str | None
    group: str | None
    split: str | None

    def by_setting(self) -> list[tuple[str, str]]:
        """Each with the setting that may name it."""
        roles = [
            *(("file_column", self.file), ("label_column", self.label)),
            *(("target_columns", name) for name in self.targets),
            *(("mask_column", self.mask), ("group_column", self.group)),
            ("split_column", self.split),
        ]
        return [(setting, name) for setting, name in roles if name is not None]


def columns_of(table: Listing, settings: Data) -> Columns:
    """Those that are set, and the others where they are certain. Raises DataError."""
    split = _split_column(table, settings)
    group = settings.group_column and listing.known(table, settings.group_column, "group_column")
    mask = settings.mask_column and listing.known(table, settings.mask_column, "mask_column")
    targets = settings.target_columns
    file = listing.file_column(table, settings.file_column, settings.other_columns)
    is_labelled = not targets and mask is None
    label = _label_column(table, settings, (file, group, split)) if is_labelled else None
    for name in targets:
        listing.known(table, name, "target_columns")
        _refuse_unprintable(table, name)
    columns = Columns(file, label, targets, mask, group, split)
    _refuse_two_roles(table, columns)
    return columns


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join([*map(shown, names[:MOST_NAMES]), *more])


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
        got = f"may be in {listed(certain)}" if certain else "are in no column"
        raise DataError(
            f"{table.file}: the labels {got}, expected one column",
            "name it: --set data.label_column=COLUMN, or columns of numbers: --set "
            'data.target_columns=\'["COLUMN", "COLUMN"]\'',
        )
    return certain[0]


def _refuse_two_roles(table: Listing, columns: Columns) -> None:
    taken: dict[str, str] = {}
    for setting, name in columns.by_setting():
        if (other := taken.setdefault(name, setting)) != setting:
            roles = " and ".join(each.partition("_")[0] for each in (other, setting))
            raise DataError(
                f"{table.file}: the column {shown(name)} is {roles} column, expected a column for "
                "each",
                f"name another one in data.{setting}",
            )


def _refuse_unprintable(table: Listing, name: str) -> None:
    if any(map(is_control, name)):
        raise DataError(
            f"{table.file}: the column {name!a} holds control characters", "rename the column"
        )
