from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stages.pruning.depth import Removable
from stages.pruning.sensitivity import probed_images, sensitivity, widened
from stages.pruning.structured import Prunable, Widths
from stages.results.pruning import SensitivityLevel

A, B, BLOCK = ("a",), ("b",), ("c", "d")


class Steps:
    """Times networks, given as their widths: every started 16 channels of 64 take a quarter."""

    reference_ms = 2.0

    def __init__(self, block: int = 16) -> None:
        self.block = block
        self.asked: list[dict[Any, int]] = []

    def ratios(self, candidates: Sequence[Any]) -> list[float]:
        self.asked += candidates
        return [self.ratio(width) for widths in candidates for width in widths.values()]

    def ratio(self, width: int) -> float:
        return -(-width // self.block) * self.block / 64


def table(found: Sequence[Any], clock: Steps, **options: Any) -> list[SensitivityLevel]:
    def accuracy(widths: Widths) -> float:
        return 0.9 - sum(0.01 * (64 - width) for width in widths.values())

    tables = sensitivity(found, lambda widths: dict(widths), accuracy, clock, **options)
    return [row for rows in tables for row in rows]


def test_every_group_is_tried_at_an_eighth_a_quarter_a_half_and_three_quarters() -> None:
    rows = table([Prunable(A, 64, 8), Prunable(B, 8, 8)], Steps(block=1))
    assert [(row.layers, row.width) for row in rows] == [(A, 16), (A, 32), (A, 48), (A, 56)]
    assert [row.latency_ratio for row in rows] == [0.25, 0.5, 0.75, 0.875]
    assert [row.latency_ms for row in rows] == [0.5, 1.0, 1.5, 1.75]
    assert [row.accuracy_drop for row in rows] == pytest.approx([0.48, 0.32, 0.16, 0.08])


def test_candidates_see_together_no_more_than_eight_epochs_of_training_images() -> None:
    three = [Prunable(A, 64, 8), Prunable(B, 64, 8), Removable(BLOCK, 64)]  # 4, 4, 1, and the whole
    assert probed_images(three, 900, 32) == 720
    assert probed_images(three, 100_000, 32) == 2048
    assert probed_images(three[2:], 900, 32) == 900
    assert [probed_images(three, 40, least) for least in (32, 33)] == [32, 0]


def test_a_block_has_one_row_without_it() -> None:
    (row,) = table([Removable(BLOCK, 64)], Steps())
    assert (row.layers, row.width, row.channels) == (BLOCK, 0, 64)
    assert (row.latency_ratio, row.accuracy_drop) == (0.0, pytest.approx(0.64))


@pytest.mark.parametrize(
    ("block", "multiple", "widths"),
    [
        (16, 8, [16, 32, 48, 56]),
        (24, 8, [24, 48, 56]),
        (24, 1, [24, 48, 63]),
        (32, 8, [32, 56]),
        (16, 1, [16, 32, 48, 63]),
    ],
)
def test_widths_are_the_wide_ends_of_the_steps_of_the_latency(
    block: int, multiple: int, widths: list[int]
) -> None:
    clock = Steps(block)
    found = widened(
        {width: clock.ratio(width) for width in (16, 32, 48, 56)},
        Prunable(A, 64, multiple),
        lambda tried: {width: clock.ratio(width) for width in tried},
    )
    assert sorted(found) == widths


def test_what_was_measured_before_a_kill_is_not_measured_again() -> None:
    found = [Removable(BLOCK, 64), Prunable(BLOCK, 64, 64), Prunable(A, 16, 8), Prunable(B, 16, 8)]
    known = table(found[:3], Steps())
    clock = Steps()
    rows = table(found, clock, known=known)
    assert [(row.layers, row.width) for row in rows] == [(B, 8)]
    assert clock.asked == [{B: 8}]
