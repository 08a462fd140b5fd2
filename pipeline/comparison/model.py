"""What `pipeline compare --format json` prints: two runs, A and B, and how B differs from A."""

from __future__ import annotations

from typing import Literal

from pydantic import SerializeAsAny

from pipeline.results.summary import Summary
from stages.results.base import Amount, Count, Measured, Share

CHOSEN = "the chosen engine"
"""What the engines that the runs stand for are called where A chose another one than B."""

Differing = dict[str, tuple[str | None, str | None]]
"""Dotted name -> its value in A and in B, in words; None where one has no such name."""

Kind = Literal["parameters", "multiply_adds", "size_bytes"]
"""Multiply-adds are those for one image, bytes those of a file."""


class RunFacts(Measured):
    """A run; `name` is the word by which the user called it."""

    name: str
    time: str | None
    dataset: str | None
    model: str | None
    engine: str | None
    batch_size: Count | None

    @classmethod
    def of(cls, name: str, summary: Summary) -> RunFacts:
        """The facts of one run."""
        return cls.model_validate({**dict(summary), "name": name})


class LatencyDifference(Measured):
    """An engine at one batch size and thread count.

    ratio, low, high   p50 of B / p50 of A with its 95 % interval; None where one of them was not
                       measured in at least five windows
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
    latency: tuple[LatencyDifference, ...]
    sizes: tuple[SizeDifference, ...]
    settings: Differing
    versions: Differing
    conditions: Differing
    warnings: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
