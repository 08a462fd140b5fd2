"""What a search found: the Pareto front, and what the rungs told of each other."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from pipeline.search import knobs, objectives
from pipeline.search.model import Control, RungResult, Trial, controls_among
from pipeline.search.objectives import Miss, Yardstick
from stages.numerics import pareto, proportions
from stages.numerics.proportions import Interval
from stages.results.base import Count, Quality
from stages.settings import Settings
from stages.settings.searching import Objective


class RungPair(BaseModel):
    """Spearman's rank correlation of the accuracy at two rungs, of the trials that did both."""

    model_config = ConfigDict(frozen=True)

    lower: int
    upper: int
    trials: int
    correlation: float | None


class Found(BaseModel):
    """All that a search found so far; `report.json` of its folder and `--format json`.

    front            trials on the Pareto front, complete and within every budget, fastest first
    reference_ms     median latency of the trained network in ONNX Runtime float32, over all trials
    importances      by objective, of the knobs, together 1; none while too few are complete
    idle             knobs that were left out, since they would change nothing
    combinations     of the values of all knobs; none where there is no end of them
    """

    model_config = ConfigDict(frozen=True)

    objectives: tuple[Objective, ...]
    rungs: tuple[float, ...]
    batch_size: int
    trials: tuple[Trial, ...]
    front: tuple[int, ...] = ()
    reference_ms: float | None = None
    trained_top1: float | None = None
    correlations: tuple[RungPair, ...] = ()
    importances: dict[Objective, dict[str, float]] = {}
    controls: tuple[Control, ...] = ()
    idle: tuple[str, ...] = ()
    combinations: Count | None = None

    @property
    def is_exhausted(self) -> bool:
        """Whether every combination has been tried."""
        different = {json.dumps(each.values, sort_keys=True) for each in self.trials}
        return self.combinations is not None and len(different) >= self.combinations

    @property
    def yardstick(self) -> Yardstick | None:
        """What trials are compared with; None before one was measured."""
        results = [each.last for each in self.trials if each.last]
        return Yardstick.of(results) if results else None

    @property
    def quality(self) -> Quality:
        """What trials are judged by, without a value: `words` is what it is called."""
        metrics = (each.last.metric for each in self.trials if each.last)
        return Quality(metric=next(metrics, None))

    @property
    def top(self) -> int:
        """The number of the last rung."""
        return len(self.rungs) - 1

    @property
    def complete(self) -> list[Trial]:
        """The trials that were trained in full."""
        return [each for each in self.trials if each.state == "complete"]

    @property
    def control(self) -> dict[int, Control]:
        """The controls by the numbers of their trials."""
        return controls_among(self.trials, self.controls)

    def is_same_as(self, trial: Trial) -> Trial | None:
        """The trial of the front whose engine is that of `trial`, which is not on it."""
        best = [found for number in self.front if (found := self.trial(number))]
        if trial.number in self.front or trial.state != "complete":
            return None
        return twin(trial, best)

    @property
    def trained_networks(self) -> int:
        """How many different ones there are: more than one where settings of `train` vary."""
        return len({rung.trained for each in self.trials for rung in each.rungs})

    @property
    def trained_words(self) -> str:
        """The network that accuracies are compared with: "the best of 3 trained networks"."""
        count = self.trained_networks
        return "the trained network" if count < 2 else f"the best of {count} trained networks"

    def varied(self, knob: str) -> bool:
        """Whether it had more than one value in the trials that were trained in full."""
        values = [each.values.get(knob) for each in self.complete]
        return any(value != values[0] for value in values)

    def trial(self, number: int) -> Trial | None:
        """The one with this number."""
        return next((each for each in self.trials if each.number == number), None)


def find(
    trials: Sequence[Trial],
    settings: Settings,
    importances: Sequence[dict[str, float]] = (),
    controls: Sequence[Control] = (),
) -> Found:
    """What these trials amount to under `settings.search`; `importances` are by objective."""
    search = settings.search
    found = Found(
        objectives=search.objectives,
        rungs=search.rungs,
        batch_size=search.batch_size,
        trials=tuple(trials),
        correlations=tuple(correlations(trials, len(search.rungs))),
        importances={
            name: shares
            for name, shares in zip(search.objectives, importances, strict=False)
            if shares
        },
        controls=tuple(controls),
        idle=knobs.idle(settings),
        combinations=knobs.combinations(knobs.unchecked(settings)),
    )
    yardstick = found.yardstick
    if yardstick is None:
        return found
    return found.model_copy(
        update={
            "front": tuple(each.number for each in front(found, settings)),
            "reference_ms": yardstick.reference_ms,
            "trained_top1": yardstick.trained_top1,
        }
    )


def front(found: Found, settings: Settings) -> list[Trial]:
    """The complete trials that meet the budgets and that no other of them beats, fastest first.

    Of those that are the same engine the first.
    """
    fitting = [trial for trial in found.complete if not missed(trial, found, settings)]
    if not fitting:
        return []
    costs = [_costs(trial, settings) for trial in fitting]
    best = [trial for trial, rank in zip(fitting, pareto.ranks(costs), strict=True) if rank == 0]
    different = [trial for trial in best if twin(trial, best) is None]
    return sorted(different, key=lambda trial: _result(trial).latency.ratio)


def twin(trial: Trial, others: Iterable[Trial]) -> Trial | None:
    """The earlier one of `others` with the same engine, which is as accurate; None without one."""
    mine = _result(trial)
    for each in others:
        found = _result(each)
        if each.number < trial.number and (found.timed, found.top1) == (mine.timed, mine.top1):
            return each
    return None


def missed(trial: Trial, found: Found, settings: Settings) -> list[Miss]:
    """The budgets that a trial misses; that of accuracy only where it was trained in full."""
    yardstick = found.yardstick
    if yardstick is None or trial.last is None:
        return []
    is_last = trial.state == "complete"
    return objectives.misses(trial.last, settings.search, yardstick, is_last)


def shortfall(found: Found, settings: Settings) -> str | None:
    """Where nothing is on the front: why, what came nearest, and by how much it misses."""
    if found.front:
        return None
    search, yardstick = settings.search, found.yardstick
    has_budget = {search.max_accuracy_loss, search.max_p50_ms, search.max_size_mb} != {None}
    what = "no trial meets the budgets" if has_budget else "no trial was trained in full"
    if yardstick is None:
        return f"{what}: none was measured"
    measured = [
        (each, each.last, objectives.misses(each.last, search, yardstick, is_last=True))
        for each in found.trials
        if each.last
    ]
    trial, last, missed = min(
        measured,
        key=lambda row: (row[0].state == "failed", sum(m.share for m in row[2]), -row[1].rung),
    )
    parts = [each.in_words for each in missed]
    if trial.state != "complete":
        parts.append(f"not trained in full: {trial.state} at rung {last.rung} of {found.top}")
    return f"{what}; trial {trial.number} came nearest: {', '.join(parts)}"


def winners(found: Found, settings: Settings) -> list[Trial]:
    """At most `search.winners` of the front: its ends, then those farthest from others."""
    best = front(found, settings)
    if not best:
        return []
    order = pareto.order([_costs(trial, settings) for trial in best])
    return [best[index] for index in order[: settings.search.winners]]


def best_of(trial: Trial, found: Found) -> Interval | None:
    """The validation accuracy of a trial that was chosen among all complete ones.

    Wilson's interval with the confidence raised so that all of their intervals hold together in 95
    of 100 searches (Bonferroni): the best of many is in part the luckiest. None for what is no
    share of the images, as R2: it has no interval from a count.
    """
    result = _result(trial)
    if result.metric is not None:
        return None
    compared = max(1, len(found.complete))
    confidence = 1 - (1 - proportions.CONFIDENCE) / compared
    return proportions.wilson(round(result.top1 * result.samples), result.samples, confidence)


def correlations(trials: Sequence[Trial], count: int) -> list[RungPair]:
    """Of every two rungs, of which the lower decided who went on."""
    pairs = []
    for lower, upper in itertools.combinations(range(count), 2):
        both = [(a, b) for each in trials if (a := each.at(lower)) and (b := each.at(upper))]
        correlation = pareto.rank_correlation([a.top1 for a, _ in both], [b.top1 for _, b in both])
        pairs.append(RungPair(lower=lower, upper=upper, trials=len(both), correlation=correlation))
    return pairs


def _costs(trial: Trial, settings: Settings) -> tuple[float, ...]:
    return objectives.costs(_result(trial), settings.search.objectives)


def _result(trial: Trial) -> RungResult:
    if trial.last is None:
        raise ValueError(f"trial {trial.number} was never measured")
    return trial.last
