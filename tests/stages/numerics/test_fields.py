"""Several arrays of the same samples as one."""

from __future__ import annotations

import numpy as np
import pytest

from stages.numerics import fields

PARTS = {"box": np.arange(12.0, dtype=np.float32).reshape(3, 4), "kind": np.array([2, 0, 1])}


def test_what_is_joined_comes_apart_again():
    found = fields.joined(PARTS)
    assert fields.names(found) == ("box", "kind")
    for got, expected in zip(fields.parts(found), PARTS.values(), strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


def test_rows_are_taken_from_all_of_them():
    few = fields.joined(PARTS)[[2, 0]]
    np.testing.assert_array_equal(few["box"][:, 0], [8, 0])
    np.testing.assert_array_equal(few["kind"], [1, 2])


def test_an_array_without_fields_is_its_own_part():
    (only,) = fields.parts(PARTS["box"])
    assert only is PARTS["box"]
    assert fields.names(only) == ()


def test_arithmetic_on_all_fields_at_once_is_an_error():
    with pytest.raises(TypeError):
        fields.joined(PARTS) - fields.joined(PARTS)
