"""Cells of a CSV file as targets: what no cell may say, and what columns of numbers are.

Raises DataError with the line and the column of the first cell that is not fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.datasets.base import is_control
from stages.errors import DataError, shown

LARGEST = float(np.finfo(np.float32).max)
YES_OR_NO = ("0", "1")
"""Names of the classes of one column of 0 and 1."""


def check_label(label: str, place: str, column: str) -> None:
    """A class has a name: neither NaN nor a measured number, and fit for files and reports."""
    try:
        number = float(label)
    except ValueError:
        number = 0.0
    if math.isnan(number) or math.isinf(number) or number != int(number):
        raise DataError(
            f"{place}: {shown(column)} is {shown(label)}, expected the name or number of a class",
            "fill it in or remove the row; a column of what is measured: data.target_columns",
        )
    if any(map(is_control, label)):
        raise DataError(
            f"{place}: the label {label!a} holds control characters", "rename the class"
        )


def refuse_spellings(labels: Iterable[tuple[str, str]]) -> None:
    """`1`, `1.0` and `01` would be three classes: of labels and their places."""
    seen: dict[Decimal, tuple[str, str]] = {}
    for label, place in labels:
        try:
            value = Decimal(label)
        except ArithmeticError:
            continue
        if not value.is_finite():
            continue
        before, there = seen.setdefault(value, (label, place))
        if before != label:
            raise DataError(
                f"{place}: the label {shown(label)}, which is {shown(before)} in {there}: two "
                "spellings of one number would be two classes",
                "write the number in one way",
            )


def numbers(cells: Sequence[str], places: Sequence[str], column: str) -> NDArray[np.float64]:
    """The cells of one column as finite numbers (N,)."""
    return np.array(
        [_number(cell, place, column) for cell, place in zip(cells, places, strict=True)]
    )


def _number(cell: str, place: str, column: str) -> float:
    try:
        value = math.nan if "_" in cell else float(cell)  # Python reads 1_5 as 15
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST:
        raise DataError(
            f"{place}: {shown(column)} is {shown(cell)}, expected a number",
            "write it as 12, 1.5 or 2e-3, or remove the row; NaN and infinity cannot be learnt",
        )
    return value


def are_labels(train: NDArray[np.float64]) -> bool:
    """Whether the columns of the training part (N, values) hold 0 and 1 and nothing else."""
    return bool(np.isin(train, (0, 1)).all())


def as_labels(
    values: NDArray[np.float64], places: Sequence[str], columns: Sequence[str]
) -> NDArray[Any]:
    """0 and 1: of one column as class numbers int64 (N,), else as labels uint8 (N, labels)."""
    odd = np.argwhere(~np.isin(values, (0, 1)))
    if odd.size:
        row, column = odd[0]
        raise DataError(
            f"{places[row]}: {shown(columns[column])} is {values[row, column]:g}, expected 0 or 1, "
            "as in all training rows",
            "correct the cell, or leave the column out of data.target_columns",
        )
    return values[:, 0].astype(np.int64) if len(columns) == 1 else values.astype(np.uint8)
