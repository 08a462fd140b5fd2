from __future__ import annotations

import pytest

from pipeline.comparison import compare, describe
from pipeline.comparison.model import (
    AccuracyDifference,
    LatencyDifference,
    PairedAccuracyDifference,
    SizeDifference,
    Top1,
)
from tests.pipeline.comparison.samples import altered, run, unlike


def timed(
    ratio: float, low: float | None, high: float | None, is_control: bool = False
) -> LatencyDifference:
    return LatencyDifference(
        engine="litert.int8",
        batch_size=1,
        threads=1,
        before_ms=1.0,
        after_ms=ratio,
        ratio=ratio,
        low=low,
        high=high,
        is_different=None if low is None or high is None else not low <= 1 <= high,
        is_control=is_control,
    )


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (timed(0.92, 0.90, 0.94), "faster by 8 % (6 to 10 %)"),
        (timed(1.08, 1.06, 1.10), "slower by 8 % (6 to 10 %)"),
        (timed(0.988, 0.98, 0.997), "faster by 1.2 % (0.3 to 2.0 %)"),
        (timed(1.0, 0.979, 1.03), "no difference measured (-2.1 to +3 %)"),
        (timed(0.25, 0.24, 0.26), "4.0x faster (3.8x to 4.2x)"),
        (timed(4.0, 3.8, 4.2), "4.0x slower (3.8x to 4.2x)"),
        (timed(0.92, None, None), "faster by 8 % (uncertain: too few windows)"),
        (timed(1.0, None, None), "the same p50"),
        (
            timed(1.08, 1.06, 1.10, is_control=True),
            "slower by 8 % (6 to 10 %), the same network: the machine",
        ),
    ],
)
def test_a_difference_in_latency_in_words(entry: LatencyDifference, words: str) -> None:
    assert describe.latency(entry) == words


def answered(points: float, low: float, high: float) -> AccuracyDifference:
    return AccuracyDifference(
        what="litert.int8",
        before=Top1(top1=0.9, samples=100),
        after=Top1(top1=0.9, samples=100),
        points=points,
        low=low,
        high=high,
        is_different=not low <= 0 <= high,
    )


def paired(entry: AccuracyDifference) -> PairedAccuracyDifference:
    facts = entry.model_dump(exclude={"method"})
    return PairedAccuracyDifference(**facts, only_before=3, only_after=4, p=1.0)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (answered(-1.2, -2.0, -0.4), "1.20 points worse (0.40 to 2.00)"),
        (answered(1.2, 0.4, 2.0), "1.20 points better (0.40 to 2.00)"),
        (answered(0.1, -0.3, 0.5), "no difference measured (-0.30 to +0.50 points)"),
        (
            paired(answered(0.1, -0.3, 0.5)),
            "no difference measured (-0.30 to +0.50 points), 3 lost, 4 won",
        ),
    ],
)
def test_a_difference_in_accuracy_in_words(entry: AccuracyDifference, words: str) -> None:
    assert describe.accuracy(entry) == words


def resized(before: int, after: int) -> SizeDifference:
    ratio = after / before if before else None
    return SizeDifference(what="train", kind="size_bytes", before=before, after=after, ratio=ratio)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (100, 100, "the same"),
        (100_000, 100_001, "nearly the same"),
        (100, 90, "smaller by 10 %"),
        (100, 25, "4.0x smaller"),
        (100, 350, "3.5x larger"),
    ],
)
def test_a_difference_in_size_in_words(before: int, after: int, words: str) -> None:
    assert describe.size(resized(before, after)) == words


def test_an_unknown_ratio_is_a_dash() -> None:
    assert describe.size(resized(0, 3)) == "-"


def test_the_verdict_is_about_the_engines_that_the_runs_stand_for() -> None:
    found = compare(unlike(run()), run(litert_int8=0.5)).verdict
    assert len(found) == 1
    assert found[0].startswith("litert.int8: 2.0x faster (")
    assert found[0].endswith(
        " at batch 1; accuracy: no difference measured (-1.99 to +1.99 points); size: the same."
    )


def test_the_verdict_names_two_engines_where_the_runs_chose_two() -> None:
    found = compare(unlike(run()), run(litert_int8=4.0)).verdict[0]
    assert found.startswith("litert.int8 -> onnxruntime.int8: 2.5x slower (")
    assert found.endswith("size: larger by 4 %.")


def test_without_an_engine_the_verdict_says_so() -> None:
    bare = altered(altered(run(), "engine", to=None), "engines", to={})
    assert compare(bare, run()).verdict == (
        "At least one of the two runs has no engine that was benchmarked.",
    )
