from __future__ import annotations

import numpy as np
import pytest

from stages.errors import DataError
from stages.tasks import classification

LABELS = np.arange(4)
NAMES = tuple("abcd")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS.astype(np.float64), "the labels are float64, expected integers"),
        (np.array([0, np.nan, 1, np.nan]), "2 of 4 labels are NaN, expected integers"),
        (np.eye(4, dtype=np.int64), r"the labels have the shape \(4, 4\), expected \(N,\)"),
        (LABELS - 1, "a label is -1, expected class numbers from 0"),
        (np.array([0, 2**64 - 1], np.uint64), "a label is 18446744073709551615, expected at most"),
    ],
)
def test_unfit_labels_are_refused_with_what_was_got_and_expected(
    labels: np.ndarray, words: str
) -> None:
    with pytest.raises(DataError, match=f"set.npz: .*{words}") as caught:
        classification.checked(labels, NAMES, "set.npz")
    assert caught.value.hint


def test_a_column_of_labels_is_a_list_of_them() -> None:
    found = classification.checked(LABELS.astype(np.uint8)[:, None], NAMES, "set.npz")
    assert found.tolist() == [0, 1, 2, 3]
    assert found.dtype == np.int64
