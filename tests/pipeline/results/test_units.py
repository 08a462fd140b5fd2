from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.results import units


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (units.percent, 0.99166, "99.17 %"),
        (units.percent, 0.0, "0.00 %"),
        (units.points, -0.2777, "-0.28"),
        (units.points, 0.2777, "+0.28"),
        (units.points, -0.001, "0.00"),
        (units.milliseconds, 0.000812, "0.000812"),
        (units.milliseconds, 0.00812, "0.00812"),
        (units.milliseconds, 0.0812, "0.0812"),
        (units.milliseconds, 0.4, "0.400"),
        (units.milliseconds, 1.234, "1.23"),
        (units.milliseconds, 12.34, "12.3"),
        (units.milliseconds, 1234.5, "1,234"),
        (units.times, 0.853, "0.85x"),
        (units.times, 0.996, "1.0x"),
        (units.times, 6.93, "6.9x"),
        (units.times, 9.96, "10x"),
        (units.times, 12.3, "12x"),
        (units.size, 950, "950 B"),
        (units.size, 120_500, "120 kB"),
        (units.size, 999_400, "999 kB"),
        (units.size, 999_999, "1 MB"),
        (units.size, 1_724_000, "1.72 MB"),
        (units.size, 1_724_000_000, "1,724 MB"),
        (units.count, 421_642, "421,642"),
    ],
)
def test_a_number_is_written_with_its_unit(
    write: Callable[[Any], str], value: float, text: str
) -> None:
    assert write(value) == text


@pytest.mark.parametrize(
    "write",
    [units.percent, units.points, units.milliseconds, units.times, units.size, units.count],
)
def test_an_unknown_number_is_a_dash(write: Callable[[Any], str]) -> None:
    assert write(None) == "-"


def test_nested_facts_become_dotted_names_in_words() -> None:
    facts = {
        "cpu": {"cores": 2, "flags": ["avx2", "fma"]},
        "gpu": {"driver": None, "names": [], "clocks": {}},
        "load": 1 / 3,
    }
    assert units.spelled(facts) == {
        "cpu.cores": "2",
        "cpu.flags": "avx2, fma",
        "gpu.names": "none",
        "gpu.clocks": "none",
        "load": "0.3333",
    }
