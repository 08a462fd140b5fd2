"""What `pipeline compare --format json` prints: two runs, A and B, and how B differs from A."""

from __future__ import annotations

from typing import Literal

from pydantic import SerializeAsAny

from pipeline.results.summary import Summary
from stages.results.base import Amount, Count, Measured, Share

CHOSEN = "the chosen engine"
"""What the engines that the runs stand for are called where A chose another one than B, or another
number of threads."""

Differing = dict[str, tuple[str | None, str | None]]
"""Dotted name -> its value in A and in B, in words; None where one has no such name."""

Kind = Literal["parameters", "multiply_adds", "size_bytes"]
"""Multiply-adds are those for one image, bytes those of a file."""


class RunFacts(Measured):
    """A run; `name` is the word by which the user called it, the engine is the one that it stands
    for, at its smallest batch size and its fastest number of threads."""

    name: str
    time: str | None
    dataset: str | None
    model: str | None
    engine: str | None
    batch_size: Count | None
    threads: Count | None = None

    @classmethod
    def of(cls, name: str, summary: Summary) -> RunFacts:
        """The facts of one run."""
        threads = summary.chosen_row.threads if summary.chosen_row else None
        return cls.model_validate({**dict(summary), "name": name, "threads": threads})


class LatencyDifference(Measured):
    """An engine at one batch size and thread count.

    before_ms,         p50 of A and B: the median of the medians of their windows; of all calls
    after_ms           where one of them was not measured in at least five windows
    ratio, low, high   after_ms / before_ms with its 95 % interval; no interval with fewer windows
    is_different       whether the interval excludes 1; None without one
    is_control         whether both timed the same file, or network, on the same machine: then
                       the difference is the machine's
    drift              the factor by which the machine may have changed, with which the interval
                       was widened; None where no control tells
    """

    engine: str
    batch_size: Count
    threads: Count | None
    before_ms: Amount
    after_ms: Amount
    ratio: Amount
    low: Amount | None
    high: Amount | None
    is_different: bool | None
    is_control: bool
    drift: float | None = None


class Top1(Measured):
    """Top-1 accuracy, a share, over so many images."""

    top1: Share
    samples: Count


class AccuracyDifference(Measured):
    """A stage's model or an engine: B - A in percentage points, with its 95 % interval."""

    what: str
    before: Top1
    after: Top1
    points: float
    low: float
    high: float
    is_different: bool
    method: Literal["paired", "unpaired"] = "unpaired"


class PairedAccuracyDifference(AccuracyDifference):
    """Both answered the very same images.

    `only_before` and `only_after` count the images that only A or only B got right, p is
    McNemar's mid-p.
    """

    method: Literal["paired", "unpaired"] = "paired"
    only_before: Count
    only_after: Count
    p: float


class ScoreDifference(Measured):
    """The same of another task: the `metric` of Quality, and B - A in points of 0.01.

    There is no interval: what each image adds to the metric is not kept.
    """

    what: str
    metric: str
    before: float
    after: float
    samples: Count | None
    points: float


class SizeDifference(Measured):
    """One number of a model or an engine; `ratio` is B / A, None where either is 0."""

    what: str
    kind: Kind
    before: Count
    after: Count
    ratio: float | None


class Comparison(Measured):
    """Two runs side by side; `verdict` is about the engines that they stand for."""

    schema_version: Literal[1] = 1
    runs: tuple[RunFacts, RunFacts]
    accuracy: tuple[SerializeAsAny[AccuracyDifference], ...]
    scores: tuple[ScoreDifference, ...] = ()
    latency: tuple[LatencyDifference, ...]
    sizes: tuple[SizeDifference, ...]
    settings: Differing
    versions: Differing
    conditions: Differing
    warnings: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
