"""Cheap first: what a trial may cost at each rung, and whether it goes on to the next one.

Successive halving (Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization", AISTATS 2016), decided as soon as a trial has its rung done, as in
ASHA (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020), with the
order of NSGA-II where more than one objective counts. Optuna's pruners know one objective only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stages.engines.registry import EngineName
from stages.numerics import pareto
from stages.pruning import ways
from stages.settings import Prune, Settings, Train, Training
from stages.settings.searching import Search

IDLE_WITHOUT_TRAINING = (
    "learning_rate", "schedule", "warmup_share", "optimizer", "momentum", "weight_decay",
    "clip_norm", "patience", "distillation", "temperature", "map_distillation",
)  # fmt: skip
"""Settings of a training that change nothing where it has no epochs: trials that differ in these
alone share the stage."""


@dataclass(frozen=True)
class Standing:
    """What a trial is judged by at a rung: costs to minimise, and by how much it misses budgets."""

    costs: tuple[float, ...]
    violation: float = 0.0


def at_share(settings: Settings, share: float, base: Settings) -> Settings:
    """`settings` with this share of the epochs of the fine-tunes, one at least if it is above 0.

    What is not read there is as in `base`: without epochs what only training reads, and of a
    network that stays unpruned all that says how to prune.
    """
    prune = _pruned_at(settings.prune, share)
    quantize = settings.quantize.model_copy(
        update={"epochs": _part(settings.quantize.epochs, share)}
    )
    not_read = {name: getattr(base.prune, name) for name in ways.unread(prune)}
    if not_read.get("ratio") == 0:
        del not_read["ratio"]  # With `2:4` 0 is not as any other.
    prune = prune.model_copy(update=not_read)
    if not _trains(prune):
        prune = prune.model_copy(update=_idle_of(base.prune))
    if not _trains(quantize):
        quantize = quantize.model_copy(update=_idle_of(base.quantize))
    return settings.model_copy(update={"prune": prune, "quantize": quantize})


def _pruned_at(prune: Prune, share: float) -> Prune:
    if prune.max_accuracy_drop is not None:
        return prune  # After fewer epochs nearly every network misses a budget of accuracy.
    epochs = _part(prune.epochs, share)
    if ways.way_of(prune) == "target":
        # It is met by what short fine-tunes of candidates tell: it wants one to foretell.
        epochs = max(epochs, min(1, prune.epochs))
    shorter = {"epochs": epochs, "round_epochs": _part(prune.round_epochs, share)}
    return prune.model_copy(update=shorter)


def at_rung(settings: Settings, rung: int, line: Settings) -> Settings:
    """`settings` of a trial at a rung of the search that `line` sets.

    Below the last rung the stage `build` times no more than trials are judged by, unless the last
    would train no more: then it finds the build of this one.
    """
    own, whole = (at_share(settings, share, line) for share in (line.search.rungs[rung], 1.0))
    return own if own == whole else _judged_alone(own, line.search)


def _judged_alone(own: Settings, search: Search) -> Settings:
    """Without the engines and batch sizes that no trial is judged by."""
    wanted: dict[str, Any] = {"batch_sizes": (search.batch_size,)}
    if search.engine != "best":
        name = EngineName.parse(search.engine)
        wanted |= {"backends": (name.backend,), "precisions": (name.precision,)}
    kept = {key: value for key, value in wanted.items() if f"build.{key}" not in search.knobs}
    return own.model_copy(update={"build": own.build.model_copy(update=kept)})


def unread(settings: Settings, share: float, base: Settings, names: Iterable[str]) -> set[str]:
    """The knobs `names` whose values in `settings` nothing reads at this share of the epochs."""
    effective = at_share(settings, share, base)
    not_read = {f"prune.{name}" for name in ways.unread(effective.prune)}
    for section in ("prune", "quantize"):
        own = getattr(effective, section)
        if not _trains(own):
            not_read |= {f"{section}.{name}" for name in _idle_of(own)}
    return not_read.intersection(names)


def may_train(settings: Settings, section: str, knobs: Collection[str]) -> bool:
    """Whether a trial has epochs in this section, as it is set or by one of the `knobs`."""
    own = getattr(settings, section)
    return _trains(own) or not {f"{section}.{name}" for name in EPOCHS}.isdisjoint(knobs)


EPOCHS = ("epochs", "frozen_epochs", "round_epochs", "rounds")


def _trains(own: Training) -> bool:
    if isinstance(own, Prune) and own.rounds > 1 and own.max_accuracy_drop is None:
        return own.epochs + own.round_epochs > 0
    return own.epochs > 0 or (isinstance(own, Train) and own.frozen_epochs > 0)


def _idle_of(base: Training) -> dict[str, Any]:
    own = type(base).model_fields
    return {name: getattr(base, name) for name in IDLE_WITHOUT_TRAINING if name in own}


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
