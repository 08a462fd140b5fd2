from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.core.remaining import Remaining


@pytest.fixture
def at() -> Callable[[float, tuple[int, int] | None], str]:
    """What is said at a time of the clock, after a step."""
    now = 0.0
    remaining = Remaining(lambda: now)

    def say(seconds: float, step: tuple[int, int] | None) -> str:
        nonlocal now
        now = seconds
        return remaining.after(step)

    return say


def test_the_rest_takes_as_long_per_step_as_what_is_done(at: Callable[..., str]) -> None:
    assert at(100.0, (1, 11)) == ""
    assert at(104.0, (3, 11)) == "16 s left"
    assert at(105.0, (4, 11)) == "12 s left"


def test_minutes_are_said_where_there_are_many_seconds(at: Callable[..., str]) -> None:
    at(0.0, (0, 100))
    assert at(10.0, (1, 100)) == "16 min left"


def test_another_total_a_step_back_and_a_step_without_number_begin_anew(
    at: Callable[..., str],
) -> None:
    at(0.0, (1, 11))
    assert at(50.0, (1, 20)) == ""
    assert at(60.0, (2, 20)) == "3 min left"
    assert at(61.0, (0, 20)) == ""
    assert at(62.0, None) == ""
    assert at(99.0, (5, 20)) == ""


def test_the_last_step_and_the_last_seconds_are_not_worth_a_word(at: Callable[..., str]) -> None:
    at(0.0, (0, 10))
    assert at(9.0, (9, 10)) == ""
    assert at(10.0, (10, 10)) == ""
