"""Cheap first: what a trial may cost at each rung, and whether it goes on to the next one.

Successive halving (Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization", AISTATS 2016), decided as soon as a trial has its rung done, as in
ASHA (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020), with the
order of NSGA-II where more than one objective counts. Optuna's pruners know one objective only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.numerics import pareto
from stages.settings import Settings

WITHOUT_TRAINING = ("learning_rate", "distillation", "temperature")
"""Settings of a fine-tune that change nothing where it has no epochs: trials that differ in these
alone share the stage."""


@dataclass(frozen=True)
class Standing:
    """What a trial is judged by at a rung: costs to minimise, and by how much it misses budgets."""

    costs: tuple[float, ...]
    violation: float = 0.0


def at_share(settings: Settings, share: float, base: Settings) -> Settings:
    """`settings` with this share of the epochs of the fine-tunes, one at least if it is above 0.

    Without epochs, what only training would read is as in `base`.
    """
    prune, quantize = settings.prune, settings.quantize
    changes = {
        "prune": {
            "epochs": _part(prune.epochs, share),
            "round_epochs": _part(prune.round_epochs, share),
        },
        "quantize": {"epochs": _part(quantize.epochs, share)},
    }
    for name, change in changes.items():
        if not any(change.values()):
            change |= {key: getattr(getattr(base, name), key) for key in WITHOUT_TRAINING}
    sections = {
        name: getattr(settings, name).model_copy(update=change) for name, change in changes.items()
    }
    return settings.model_copy(update=sections)


def _part(epochs: int, share: float) -> int:
    return 0 if share == 0 else min(epochs, max(1, round(epochs * share)))


def goes_on(standing: Standing, others: Sequence[Standing], kept_share: float) -> bool:
    """Whether a trial is among the best `kept_share` of all that have done its rung, rounded up.

    The first at a rung always is, unless it misses a budget: those that are judged before the last
    rung, of latency and size, no training changes. By rank of dominance, then by distance from its
    neighbours on the front; of equals the one that was there before comes first.
    """
    if standing.violation > 0:
        return False
    everyone = [*others, standing]
    place = pareto.order(
        [each.costs for each in everyone], [each.violation for each in everyone]
    ).index(len(others))
    return place < math.ceil(kept_share * len(everyone))
