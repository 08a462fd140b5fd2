"""The table of guided pruning: what every group and block alone loses and saves.

Engines compute channels in blocks, so latency falls in steps. Where the steps are is measured, not
assumed: a width that is tried is made wider for as long as the network takes no longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import keras

from stages import progress
from stages.pruning.depth import Removable
from stages.pruning.stopwatch import Stopwatch
from stages.pruning.structured import Prunable, Widths
from stages.results.pruning import SensitivityLevel

LEVELS = (0.125, 0.25, 0.5, 0.75)
"""Shares of a group's channels that are tried first."""

MOST_PROBED, PROBED_EPOCHS = 2048, 8
"""Training images that a candidate is fine-tuned on before it is judged, at most, and epochs of all
training images that all candidates take together, at most."""

LEAST_SAVING = 0.02
"""Least share of the latency that counts as saved: less cannot be measured."""

Part = Prunable | Removable
Narrow = Callable[[Widths], keras.Model]
Accuracy = Callable[[keras.Model], float]


def probed_images(found: Sequence[Part], available: int, least: int) -> int:
    """How many of the `available` training images each candidate of `found` is fine-tuned on.

    None where that would be fewer than `least`, those of a step. Without any a network that lost a
    block is nearly at chance, and so is one that lost half of a group: which of them a fine-tune
    brings back is not seen. A short one shows it (NetAdapt, Yang et al., ECCV 2018, section 3.2).
    """
    # And the unpruned network, which they are compared with.
    candidates = 1 + sum(1 if isinstance(part, Removable) else len(LEVELS) for part in found)
    images = min(MOST_PROBED, available, PROBED_EPOCHS * available // candidates)
    return images if images >= least else 0


def sensitivity(
    found: Sequence[Part],
    narrow: Narrow,
    accuracy: Accuracy,
    stopwatch: Stopwatch,
    known: Sequence[SensitivityLevel] = (),
) -> Iterator[list[SensitivityLevel]]:
    """The table, part by part; groups that rounding leaves whole are not in it.

    Parts of which `known` has levels already are left out.
    """
    whole: float | None = None
    seen = {(level.layers, level.width == 0) for level in known}
    for done, part in enumerate(found):
        if (part.layers, isinstance(part, Removable)) in seen:
            continue
        progress.report(f"sensitivity of {', '.join(part.layers)}", done, len(found))
        if whole is None:
            whole = accuracy(narrow({}))
        ratios = _ratios(part, narrow, stopwatch)
        levels = list[SensitivityLevel]()
        for width, ratio in sorted(ratios.items()):
            drop = whole - accuracy(narrow({part.layers: width}))
            left = f"{width} of {part.channels} channels" if width else "removed"
            progress.report(f"{left}: {-100 * drop:+.2f} points, latency {ratio:.2f} x")
            levels.append(
                SensitivityLevel(
                    layers=part.layers,
                    channels=part.channels,
                    width=width,
                    accuracy_drop=drop,
                    latency_ratio=ratio,
                    latency_ms=ratio * stopwatch.reference_ms,
                )
            )
        if levels:
            yield levels


def _ratios(part: Part, narrow: Narrow, stopwatch: Stopwatch) -> dict[int, float]:
    """Latency ratio by width: of a block without it, of a group at the wide end of every step."""

    def measured(widths: Sequence[int]) -> dict[int, float]:
        # Together, so that their windows take turns: they are compared with each other.
        ratios = stopwatch.ratios([narrow({part.layers: width}) for width in widths])
        return dict(zip(widths, ratios, strict=True))

    if isinstance(part, Removable):
        return measured([0])
    tried = sorted({part.narrowed(level) for level in LEVELS} - {part.channels})
    return widened(measured(tried), part, measured) if tried else {}


def widened(
    ratios: dict[int, float], group: Prunable, measured: Callable[[Sequence[int]], dict[int, float]]
) -> dict[int, float]:
    """`ratios` by width, each width replaced by the widest below the next that is as fast.

    By bisection, all widths at once. Widths for which a wider one is as fast are left out.
    """
    widths = sorted(ratios)
    ends = dict(zip(widths, [*widths[1:], group.channels], strict=True))
    spans = {width: (width, end) for width, end in ends.items()}
    found = dict(ratios)
    while middles := {
        first: middle
        for first, (low, high) in spans.items()
        if low < (middle := (low + high) // 2 // group.multiple * group.multiple) < high
    }:
        found |= measured(list(middles.values()))
        for first, middle in middles.items():
            low, high = spans[first]
            is_as_fast = found[middle] <= (1 + LEAST_SAVING) * ratios[first]
            spans[first] = (middle, high) if is_as_fast else (low, middle)
    kept: dict[int, float] = {}
    for width in sorted((low for low, _ in spans.values()), reverse=True):
        if found[width] < (1 - LEAST_SAVING) * min(kept.values(), default=math.inf):
            kept[width] = found[width]
    return kept
