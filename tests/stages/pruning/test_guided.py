from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stages.errors import ModelError
from stages.pruning import guided
from stages.pruning.guided import Waypoint
from stages.pruning.structured import Layers
from stages.results.pruning import PathPoint, PruningLatency, SensitivityLevel
from stages.settings import Prune

A, B = ("a",), ("b",)


def level(layers: Layers, channels: int, width: int, drop: float, ratio: float) -> SensitivityLevel:
    return SensitivityLevel(
        layers=layers,
        channels=channels,
        width=width,
        accuracy_drop=drop,
        latency_ratio=ratio,
        latency_ms=2.0 * ratio,
    )


LEVELS = [
    level(A, 32, 8, 0.50, 0.40),
    level(A, 32, 16, 0.10, 0.60),
    level(A, 32, 24, 0.00, 0.80),
    level(B, 16, 8, 0.02, 0.90),
]


def test_a_budget_that_is_spent_is_told_in_the_words_of_the_metric() -> None:
    first = Waypoint({A: 16}, 0.6, 0.6)
    with pytest.raises(ModelError, match="on cpu mean IoU on the validation images has fallen by "):
        guided.refuse_budget(first, 1.0, 2.5, "cpu", "mean IoU")


def test_the_budget_that_a_refusal_names_is_not_refused_again() -> None:
    one_of_144 = 100 / 144
    with pytest.raises(ModelError) as caught:
        guided.refuse_budget(Waypoint({A: 16}, 0.6, 0.6), 0.5, one_of_144, "cpu", "accuracy")
    assert "--set prune.max_accuracy_drop=0.70," in caught.value.hint


def test_a_network_that_takes_longer_than_was_asked_is_told() -> None:
    def timed(ratio: float, goal: float | None = 0.5) -> str | None:
        found = PruningLatency(
            target="cpu", trained_ms=1.0, predicted_ratio=0.4, measured_ratio=ratio
        )
        return guided.missed(found, "litert.int8", goal)

    assert "takes 0.56 of the trained one's time on litert.int8, more than" in str(timed(0.56))
    assert [timed(0.505), timed(0.4), timed(0.9, None)] == [None] * 3


class Clock:
    """Times networks, given as their widths, by a rule: the product of what each group has left."""

    reference_ms = 2.0

    def __init__(self, floor: float = 0.0) -> None:
        self.floor = floor
        self.asked: list[dict[Any, int]] = []

    def ratios(self, candidates: Sequence[Any]) -> list[float]:
        self.asked += candidates
        return [max(self.floor, guided.predict(LEVELS, widths)) for widths in candidates]


def descend(goal: float, clock: Clock | None = None, smallest: float = 0.005) -> list[Waypoint]:
    return guided.descend(LEVELS, lambda widths: dict(widths), clock or Clock(), goal, smallest)


def test_steps_go_where_least_accuracy_is_lost_per_time_saved():
    # a to 24: 0.005 / 0.2; b to 8: 0.02 / 0.1; then a to 16: 0.1 / 0.25; at last a to 8.
    path = descend(0.4)
    widths = [{A: 24}, {A: 24, B: 8}, {A: 16, B: 8}, {A: 8, B: 8}]
    assert [point.widths for point in path] == [{}, *widths]
    assert [point.latency_ratio for point in path] == pytest.approx([1, 0.8, 0.72, 0.54, 0.36])


def test_the_way_down_ends_where_the_goal_is_met():
    assert [point.widths for point in descend(0.75)] == [{}, {A: 24}, {A: 24, B: 8}]
    assert descend(0.8)[-1].widths == {A: 24}


def give_back(path: list[Waypoint], goal: float) -> list[Waypoint]:
    return guided.give_back(LEVELS, lambda widths: dict(widths), Clock(), path, goal)


def test_what_the_goal_leaves_room_for_is_given_back():
    # Without b at 8 channels the end, {A: 8, B: 8}, takes 0.4 instead of 0.36.
    path = give_back(descend(0.4), 0.4)
    assert [point.widths for point in path] == [{}, {A: 24}, {A: 8, B: 16}]
    assert [point.latency_ratio for point in path] == pytest.approx([1, 0.8, 0.4])
    assert path[-1].predicted_ratio == pytest.approx(0.4)


def test_the_group_that_lost_most_accuracy_is_given_back_first():
    # Either a to 16 or b to 16 channels would fit.
    end = give_back(descend(0.4), 0.55)[-1]
    assert end.widths == {A: 16, B: 8}


def test_a_path_that_ends_at_its_goal_stays():
    path = descend(0.8)
    assert give_back(path, 0.8) == path


def test_a_step_that_does_not_hold_what_the_table_promised_is_taken_back():
    path = descend(0.1, Clock(floor=0.715))
    assert [point.widths for point in path] == [{}, {A: 24}, {A: 24, B: 8}]


def test_where_no_single_step_helps_all_groups_go_down_together():
    class Blocks(Clock):
        """Like an engine that computes whole blocks: faster only when both groups are narrow."""

        def ratios(self, candidates: Sequence[Any]) -> list[float]:
            both = {A, B}
            return [0.5 if both <= widths.keys() else 1.0 for widths in candidates]

    path = descend(0.6, Blocks())
    assert [point.widths for point in path] == [{}, {A: 24, B: 8}]


def test_drops_that_are_smaller_than_half_an_image_count_the_same():
    # What a loses at 24 and 16 channels is below the resolution, so the larger saving decides.
    assert descend(0.9, smallest=0.2)[1].widths == {A: 16}


def test_the_prediction_is_the_product_of_the_table():
    assert guided.predict(LEVELS, {A: 16, B: 8}) == pytest.approx(0.54)
    assert guided.predict(LEVELS, {}) == 1.0


BLOCK, INNER = ("c", "d"), ("c",)
DEPTH = [
    *LEVELS,
    level(BLOCK, 16, 0, 0.02, 0.6),
    level(INNER, 8, 4, 0.01, 0.9),
]


class Table(Clock):
    """Times networks as the table of their levels predicts."""

    def __init__(self, levels: Sequence[SensitivityLevel]) -> None:
        super().__init__()
        self.levels = levels

    def ratios(self, candidates: Sequence[Any]) -> list[float]:
        return [guided.predict(self.levels, widths) for widths in candidates]


def down_by(
    levels: Sequence[SensitivityLevel], goal: float, whole: guided.Whole | None = None
) -> list[dict[Layers, int]]:
    """The widths on the way down."""
    path = guided.descend(
        levels, lambda widths: dict(widths), Table(levels), goal, 0.005, whole or {}
    )
    return [point.widths for point in path]


def test_a_block_goes_where_it_loses_least_accuracy_per_time_saved() -> None:
    # a to 24: 0.005 / 0.2; the block: 0.02 / 0.4; its inner layer, 0.01 / 0.1, is gone with it.
    assert down_by(DEPTH, 0.4) == [
        {},
        {A: 24},
        {A: 24, BLOCK: 0},
        {A: 24, BLOCK: 0, B: 8},
        {A: 16, BLOCK: 0, B: 8},
    ]


def test_a_block_stays_once_the_groups_around_it_are_narrower() -> None:
    assert all(BLOCK not in widths for widths in down_by(DEPTH, 0.6, {BLOCK: {A}}))


def test_a_block_that_saves_more_than_is_missing_does_not_go_for_it() -> None:
    # Per time saved the block is cheaper, 0.3 / 0.5 against 0.08 / 0.1; 0.08 are missing.
    levels = [level(BLOCK, 16, 0, 0.3, 0.5), level(B, 16, 8, 0.08, 0.9)]
    assert down_by(levels, 0.92)[-1] == {B: 8}
    assert down_by(levels, 0.5)[-1] == {BLOCK: 0}


def test_what_a_step_saves_is_a_share_of_the_time_that_is_left() -> None:
    # From 0.4 a saves half, 0.1 / 0.5, and b 0.3, 0.08 / 0.3; of the whole time a saves 0.2 only.
    levels = [
        level(A, 32, 16, 0.0, 0.4),
        level(A, 32, 8, 0.1, 0.2),
        level(B, 16, 8, 0.08, 0.7),
    ]
    assert down_by(levels, 0.14) == [{}, {A: 16}, {A: 8}, {A: 8, B: 8}]


def test_what_is_missing_is_a_share_of_the_time_that_is_left() -> None:
    # From 0.4 to 0.3 a quarter is missing: the block 0.1 / 0.25, b 0.05 / 0.1. Were it a tenth, b
    # would go for half of the block's price, and then the block as well.
    levels = [
        level(A, 32, 16, 0.0, 0.4),
        level(BLOCK, 16, 0, 0.1, 0.5),
        level(B, 16, 8, 0.05, 0.9),
    ]
    assert down_by(levels, 0.3) == [{}, {A: 16}, {A: 16, BLOCK: 0}]


def test_all_groups_go_down_together_but_no_block_with_them() -> None:
    class Blocks(Clock):
        def ratios(self, candidates: Sequence[Any]) -> list[float]:
            return [0.5 if {A, B, INNER} <= widths.keys() else 1.0 for widths in candidates]

    path = guided.descend(DEPTH, lambda widths: dict(widths), Blocks(), 0.6, 0.005)
    assert path[-1].widths == {A: 24, B: 8, INNER: 4}


def test_a_block_is_given_back_where_the_goal_leaves_room() -> None:
    path = [Waypoint({}, 1.0, 1.0), Waypoint({A: 8, BLOCK: 0}, 0.24, 0.24)]
    end = guided.give_back(DEPTH, lambda widths: dict(widths), Table(DEPTH), path, 0.4)[-1]
    # A lost more, so it is the first to be given back.
    assert end.widths == {A: 16, BLOCK: 0}
    end = guided.give_back(DEPTH, lambda widths: dict(widths), Table(DEPTH), path[1:], 0.25)[-1]
    assert end.widths == {A: 8, BLOCK: 0}
    alone = [Waypoint({BLOCK: 0}, 0.6, 0.6)]
    end = guided.give_back(DEPTH, lambda widths: dict(widths), Table(DEPTH), alone, 1.0)[-1]
    assert end.widths == {BLOCK: 16}


def test_the_channels_within_the_heads_of_a_block_that_went_are_no_step():
    heads, block = ("heads/query", "heads/key"), ("heads",)
    levels = [level(block, 8, 0, 0.0, 0.5), level(heads, 8, 4, 0.0, 0.9), LEVELS[3]]
    assert down_by(levels, 0.3) == [{}, {block: 0}, {block: 0, B: 8}]


@pytest.mark.parametrize(
    ("options", "goals"),
    [
        ({"target_latency_ratio": 0.36}, [0.36]),
        ({"target_latency_ratio": 0.36, "rounds": 2}, [0.6, 0.36]),
        ({"target_latency_ratio": 0.6, "max_accuracy_drop": 1.0}, [0.8, 0.64, 0.6]),
        ({"max_accuracy_drop": 1.0}, [0.8, 0.64, 0.512, 0.4096, 0.36]),
    ],
)
def test_rounds_stop_at_equal_shares_of_what_is_left(options, goals):
    path = [Waypoint({}, 1.0, 1.0), Waypoint({A: 8}, 0.36, 0.36)]
    assert guided.goals(path, Prune(**options)) == pytest.approx(goals)


def test_milestones_are_points_of_the_path_each_of_them_once():
    path = descend(0.4)
    assert guided.milestones(path, [0.9, 0.8, 0.6, 0.1]) == [path[1], path[3], path[4]]


def test_the_path_survives_being_written_as_json():
    for point in descend(0.4):
        text = point.to_result().model_dump_json()
        assert Waypoint.from_result(PathPoint.model_validate_json(text)) == point


def test_a_target_that_cannot_be_met_says_how_far_one_gets():
    with pytest.raises(ModelError, match=r"ratio 0\.3 cannot be met on litert\.int8") as caught:
        guided.check_reached(descend(0.3), 0.3, "litert.int8")
    assert "still takes 0.36 of the trained one's time" in caught.value.message
    assert "prune.target_latency_ratio=0.38 or more" in caught.value.hint
    guided.check_reached(descend(0.4), 0.4, "litert.int8")


def test_a_network_in_which_no_step_saves_anything_is_refused():
    with pytest.raises(ModelError, match=r"saves no latency on litert\.int8"):
        guided.check_reached([Waypoint({}, 1.0, 1.0)], 0.5, "litert.int8")


def test_a_network_with_all_its_channels_that_is_timed_as_fast_as_the_goal_is_refused():
    # As when an engine file of another candidate is timed in place of its own.
    class Stuck(Clock):
        def ratios(self, candidates: Sequence[Any]) -> list[float]:
            return [0.44 for _ in candidates]

    path = guided.give_back(LEVELS, lambda widths: dict(widths), Stuck(), descend(0.6), 0.6)
    with pytest.raises(
        ModelError, match=r"on litert\.int8 the network with all.*timed at 0\.44 of"
    ):
        guided.check_narrowed(path[-1], LEVELS, 0.6, "litert.int8")
    guided.check_narrowed(descend(0.6)[-1], LEVELS, 0.6, "litert.int8")
