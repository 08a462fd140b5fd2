"""Two random runs in; the words of every line of the comparison follow from its numbers."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.comparison import Run, compare, render
from tests.pipeline.comparison.samples import altered, run
from tests.pipeline.shown import Shown, shown

NUMBER = r"\d[\d,.]*"
ENGINE = "litert.int8"
LABELS = np.arange(360) % 10

Row = list[str]


def brief() -> Run:
    """A run of one engine and the baseline at batch 1: every interval takes a while."""
    found = run()
    engines = {
        name: altered(found, "engines", name, "latency", to=[engine.latency[0]]).summary.engines[
            name
        ]
        for name, engine in found.summary.engines.items()
        if name in ("baseline", ENGINE)
    }
    return altered(found, "engines", to=engines)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Windows that agree or fall apart into two kinds, and any p50 of all calls."""
    slow, share = draw(st.sampled_from([1.0, 1.001, 1.3, 4.0])), draw(st.integers(0, 10))
    p50, count = draw(st.floats(0.01, 20)), draw(st.sampled_from([3, 6, 9]))
    windows = [p50 * (slow if place < share else 1) for place in range(count)]
    row = ("engines", ENGINE, "latency", 0)
    found = altered(altered(brief(), *row, "p50_ms", to=p50), *row, "window_p50_ms", to=windows)
    found = altered(found, "engines", ENGINE, "size_bytes", to=draw(st.integers(1, 10**9)))
    found = altered(found, "engines", ENGINE, "sha256", to=draw(st.sampled_from(["0" * 64, None])))
    predicted = LABELS.copy()
    predicted[: draw(st.integers(0, 60))] += 1
    known = {"labels": LABELS, ENGINE: predicted} if draw(st.booleans()) else {}
    return Run(found.name, found.summary, known)


def table(text: str, title: str) -> list[Row]:
    """The cells of a table of the Markdown."""
    part = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
    return rows[2:]


def agrees(words: str, before: Shown, after: Shown, less: str, more: str) -> bool:
    """Whether "`less` by 8 %" or "4.0x `more`" is how `before` became `after`."""
    match = re.match(
        rf"(?:(?P<times>{NUMBER})x )?(?P<word>{less}|{more})(?: by (?P<percent>{NUMBER}) %)?", words
    )
    assert match, words
    ratio, one = after / before, shown("1.000000000")
    if match["times"]:
        return (one / ratio if match["word"] == less else ratio).meets(shown(match["times"]))
    change = shown(match["percent"]) * Shown(0.01, 0.01)
    return (one - ratio if match["word"] == less else ratio - one).meets(change)


def latency(row: Row) -> None:
    before, after, words = row[3:]
    if words == "the same p50":
        assert before == after
    elif bounds := re.fullmatch(
        rf"no difference measured \(([-+]?{NUMBER}) to ([-+]?{NUMBER}) %\)", words
    ):
        percent = (shown(after) / shown(before) - shown("1.00000000")) * Shown(100, 100)
        assert Shown(shown(bounds[1]).low, shown(bounds[2]).high).meets(percent)
    elif words.startswith("nearly the same p50"):
        assert (shown(after) / shown(before)).meets(shown("1.000"))
    else:
        assert agrees(words, shown(before), shown(after), "faster", "slower")
        inside = re.search(rf"\(({NUMBER})x? to ({NUMBER})", words)
        amount = re.search(NUMBER, words)
        assert amount
        if inside:
            span = Shown(shown(inside[1]).low, shown(inside[2]).high)
            assert span.meets(shown(amount[0]))


def accuracy(row: Row) -> None:
    _, before, after, images, words = row
    change = shown(after) - shown(before)
    points = re.match(r"([\d.]+) points (better|worse)", words)
    bounds = re.search(r"\(([-+]?[\d.]+) to ([-+]?[\d.]+)", words)
    assert bounds
    if points:
        sign = 1 if points[2] == "better" else -1
        assert change.meets(shown(f"{sign * float(points[1]):.2f}"))
        low, high = sorted(sign * float(bound) for bound in bounds.groups())
        assert low * high >= 0
    else:
        low, high = (float(bound) for bound in bounds.groups())
        assert low <= 0 <= high
    assert change.meets(Shown(low - 0.005, high + 0.005))
    if counted := re.search(r"(\d+) lost, (\d+) won", words):
        won = int(counted[2]) - int(counted[1])
        assert 100 * won / int(images) in change


def size(row: Row) -> None:
    name, before, after, words = row
    less, more = ("smaller", "larger") if name.endswith(": size") else ("fewer", "more")
    if words == "the same":
        assert before == after
    elif words == "nearly the same":
        assert bytes_of(before).meets(bytes_of(after) * Shown(0.999, 1.001))
    else:
        assert agrees(words, bytes_of(before), bytes_of(after), less, more)


def bytes_of(text: str) -> Shown:
    """ "120 kB"."""
    number, _, unit = text.partition(" ")
    scale = {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6}[unit]
    return shown(number) * Shown(scale, scale)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(runs(), runs())
def test_every_line_of_a_comparison_follows_from_the_numbers_in_it(before: Run, after: Run) -> None:
    text = render(compare(before, after), "md")
    checks = (("Latency", latency), ("Accuracy", accuracy), ("Size and parameters", size))
    for title, check in checks:
        rows = table(text, title)
        assert rows
        for row in rows:
            check(row)
    words = next(row[-1] for row in table(text, "Latency") if row[:2] == [ENGINE, "1"])
    assert f"{ENGINE}: {words} at batch 1;" in text
