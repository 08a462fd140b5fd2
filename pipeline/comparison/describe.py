"""Differences in words: "faster by 8 % (6 to 10 %)", "no difference measured"."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.comparison.model import (
    CHOSEN,
    AccuracyDifference,
    Comparison,
    LatencyDifference,
    PairedAccuracyDifference,
    ScoreDifference,
    SizeDifference,
)
from pipeline.results import units
from stages.results.base import Quality

NONE = "no difference measured"
LEAST_SHARE = 0.0005
"""Less would be written as 0.0 %."""

FACTOR = 2.0
"""From here on "2.4x" reads better than "by 140 %"."""


def latency(entry: LatencyDifference) -> str:
    """ "faster by 8 % (6 to 10 %)": the second p50 is 8 % lower, with its 95 % interval."""
    ratio, low, high = entry.ratio, entry.low, entry.high
    is_nearly_one = abs(ratio - 1) < LEAST_SHARE
    verb = "nearly the same p50" if is_nearly_one else _changed(ratio, "faster", "slower")
    if low is None or high is None:
        is_same = entry.before_ms == entry.after_ms
        return "the same p50" if is_same else f"{verb} (uncertain: too few windows)"
    if not entry.is_different or is_nearly_one:
        return f"{NONE} ({_signed(low, high)})"
    near, far = (low, high) if ratio > 1 else (high, low)
    span = f"({_amount(near, ratio)} to {_amount(far, ratio)}{_unit(ratio)})"
    return f"{verb} {span}" + (", the same network: the machine" if entry.is_control else "")


def accuracy(entry: AccuracyDifference) -> str:
    """ "1.20 points better (0.40 to 2.00)"; "no difference measured (-0.30 to +0.50 points)"."""
    if not entry.is_different:
        text = f"{NONE} ({units.points(entry.low)} to {units.points(entry.high)} points)"
    else:
        word = "better" if entry.points > 0 else "worse"
        near, far = sorted((abs(entry.low), abs(entry.high)))
        text = f"{abs(entry.points):.2f} points {word} ({near:.2f} to {far:.2f})"
    if not isinstance(entry, PairedAccuracyDifference):
        return text
    return f"{text}, {entry.only_before} lost, {entry.only_after} won"


def score(entry: ScoreDifference) -> str:
    """ "0.12 points higher, no interval": a difference that may be one of chance."""
    if units.points(entry.points) == "0.00":
        return "the same" if entry.before == entry.after else "nearly the same, no interval"
    word = "higher" if entry.points > 0 else "lower"
    return f"{abs(entry.points):.2f} points {word}, no interval"


def words_of(entry: ScoreDifference) -> str:
    """What its metric is called: "ROC AUC"."""
    return Quality(metric=entry.metric).words


def size(entry: SizeDifference, more: str = "larger", less: str = "smaller") -> str:
    """ "3.2x smaller", "larger by 2 %", "the same"."""
    if entry.before == entry.after:
        return "the same"
    if entry.ratio is None:
        return units.UNKNOWN
    if abs(entry.ratio - 1) < LEAST_SHARE:
        return "nearly the same"
    return _changed(entry.ratio, less, more)


def verdict(compared: Comparison) -> list[str]:
    """One sentence on the engines that the two runs stand for."""
    old, new = (run.engine for run in compared.runs)
    if not old or not new:
        return ["At least one of the two runs has no engine that was benchmarked."]
    engines = old if old == new else f"{old} -> {new}"
    parts = list(_parts(compared, old if old == new else CHOSEN))
    return [f"{engines}: {'; '.join(parts)}."] if parts else [f"{engines}: nothing in common."]


def _parts(compared: Comparison, engine: str) -> Iterator[str]:
    before = compared.runs[0]
    for row in compared.latency:
        key = row.batch_size, row.threads
        if row.engine in (engine, CHOSEN) and key == (before.batch_size, before.threads):
            yield f"{latency(row)} at batch {row.batch_size}"
            break
    yield from (f"accuracy: {accuracy(row)}" for row in compared.accuracy if row.what == engine)
    yield from (f"{words_of(row)}: {score(row)}" for row in compared.scores if row.what == engine)
    yield from (f"size: {size(row)}" for row in compared.sizes if row.what == CHOSEN)


def _changed(ratio: float, less: str, more: str) -> str:
    """How a value became `ratio` times itself."""
    word = less if ratio < 1 else more
    amount = f"{_amount(ratio, ratio)}{_unit(ratio)}"
    return f"{amount} {word}" if _is_factor(ratio) else f"{word} by {amount}"


def _is_factor(ratio: float) -> bool:
    return max(ratio, 1 / ratio) >= FACTOR


def _amount(value: float, like: float) -> str:
    """`value` as a factor or in percent, in the same direction and unit as `like`."""
    if _is_factor(like):
        return units.times(value if like > 1 else 1 / value)
    return _percent(value - 1 if like > 1 else 1 - value)


def _unit(ratio: float) -> str:
    return "" if _is_factor(ratio) else " %"


def _percent(share: float) -> str:
    percent = 100 * share
    text = f"{percent:.0f}" if abs(percent) >= 2.95 else f"{percent:.1f}"
    return "0.0" if text == "-0.0" else text


def _signed(low: float, high: float) -> str:
    """The bounds of a ratio around 1 as a change of the time: "-2.1 to +3 %"."""
    bounds = [_percent(bound - 1) for bound in (low, high)]
    down, up = (text if text.startswith("-") or text == "0.0" else f"+{text}" for text in bounds)
    return f"{down} to {up} %"
