from __future__ import annotations

from typing import Any

import pytest

from stages.errors import ModelError
from stages.pruning.consistency import check
from stages.pruning.structured import Widths
from stages.results.base import Quality
from stages.results.pruning import PruneDetails, PrunedGroup, PruningRound, SparseSize

A, B = ("a",), ("b", "c")


def details(**changes: Any) -> PruneDetails:
    """Half of the channels of `a` went, and with them 60 of 100 parameters."""
    last = PruningRound(
        parameters=40,
        epochs=1,
        accuracy_before_finetune=Quality(top1=0.5, samples=10),
        validation_top1=0.5,
        is_kept=True,
    )
    right: dict[str, Any] = {
        "method": "channels",
        "rounds": (last,),
        "groups": (group(A, 16, 8), group(B, 32, 32)),
        "parameters_before": 100,
        "parameters_after": 40,
    }
    return PruneDetails(**{**right, **changes})


def group(layers: tuple[str, ...], before: int, after: int) -> PrunedGroup:
    return PrunedGroup(layers=layers, channels_before=before, channels_after=after)


def sparse(zero_share: float) -> SparseSize:
    return SparseSize(
        zero_share=zero_share,
        weights_bytes=400,
        compressed_bytes_before=300,
        compressed_bytes_after=200,
    )


WHOLE = {"groups": (group(A, 16, 16), group(B, 32, 32)), "parameters_before": 40}


def test_a_record_that_fits_its_model_is_accepted() -> None:
    check(details(), {A: 8})
    check(details(), {A: 8, B: 32})
    check(details(**WHOLE, rounds=()), {})
    check(details(**WHOLE, method="magnitude", size=sparse(0.5)), {})


GONE = {"groups": (group(A, 16, 0), group(B, 32, 32)), "removed_blocks": (("a", "x"),)}
"""The block of `a` and `x` went, and no channel of `b` and `c`."""


def test_a_record_of_a_block_that_went_is_accepted() -> None:
    check(details(**GONE), {("a", "x"): 0}, ("x", "a"))
    only = {"groups": (group(B, 32, 32),), "removed_blocks": (("x",),)}
    check(details(**only), {("x",): 0}, ("x",))


@pytest.mark.parametrize(
    ("changes", "widths", "lost", "message"),
    [
        (GONE, {("a", "x"): 0}, ("a",), r"lost the layers a and records.*to lose a, x"),
        (GONE, {("a", "x"): 0}, ("a", "x", "y"), r"lost the layers a, x, y and.*lose a, x"),
        (GONE, {}, (), r"lost the layers none and.*lose none"),
        ({}, {A: 8}, ("d",), r"lost the layers d and"),
        ({**GONE, "groups": (group(A, 16, 16),)}, {("a", "x"): 0}, ("a", "x"), "expected 0"),
        ({**GONE, "removed_blocks": ()}, {("a", "x"): 0}, ("a", "x"), r"records the blocks \(\)"),
    ],
)
def test_a_block_that_is_still_there_or_was_not_to_go_is_refused(
    changes: dict[str, Any], widths: Widths, lost: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        check(details(**changes), widths, lost)


@pytest.mark.parametrize(
    ("changes", "widths", "message"),
    [
        ({}, {A: 4}, r"layers a has 8 of 16 channels after pruning, expected 4"),
        ({}, {A: 8, B: 16}, r"layers b, c has 32 of 32 channels after pruning, expected 16"),
        ({}, {}, r"a has 8 of 16 channels after pruning, expected 16"),
        ({"parameters_after": 50}, {A: 8}, r"has 50 parameters, its last round recorded 40"),
        ({"parameters_before": 40}, {A: 8}, r"lost channels, but the model has 40.*40 before"),
        (WHOLE, {}, r"pruning removed no channel"),
        (
            {**WHOLE, "method": "magnitude", "size": sparse(0.0)},
            {},
            r"prune\.method 'magnitude' made no weight zero",
        ),
    ],
)
def test_a_record_that_contradicts_its_model_is_refused(
    changes: dict[str, Any], widths: dict[tuple[str, ...], int], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        check(details(**changes), widths)
