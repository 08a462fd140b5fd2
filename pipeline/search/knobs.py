"""The knobs of a search, checked against the settings that they are to vary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import config
from pipeline.core.plan import Plan
from pipeline.search.model import Control
from pipeline.search.rungs import IDLE_WITHOUT_TRAINING, may_train
from stages.errors import SettingsError, nearest, shown, suggestion
from stages.pruning import ways
from stages.settings import Knob, Settings

SAME_IMAGES = (
    "name", "path", "test_path", "split_column", "file_column", "label_column",
    "target_columns", "mask_column", "group_column", "source", "version", "sha256", "hash_contents",
    "skip_bad_images", "test_samples", "validation_share", "calibration_samples", "image_size",
    "seed",
)  # fmt: skip
"""Settings of `data` that decide which images accuracy is measured on: no knobs."""
SAME_MEASURE = ("quality.metric", "quality.higher_is_better", "model.task", "model.tasks")
"""Settings that decide what accuracy is: no knobs either."""
SAME_ENGINE = (
    "data.max_download_mib", "data.max_unpacked_mib", "model.trust_source", "train.save_h5",
    "train.profile", "convert.parity_samples", "convert.carried_images",
    "convert.max_relative_difference", "tensorrt.locate_divergence", "gpu.streams",
)  # fmt: skip
"""Nor are limits, checks, and what is written besides: no engine and no latency has them."""

DIGITS = 12
"""Of a number on a grid: 3 * 0.05 is a little more than 0.15."""
TOLERANCE = 1e-6
"""Of a step, by which a number may miss its place on a grid."""


@dataclass(frozen=True)
class Dimension:
    """A setting that varies: one of `choices`, or a number from `low` to `high`."""

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    is_whole: bool = False

    @property
    def count(self) -> int | None:
        """How many values it has; None where there is no end of them."""
        if self.choices:
            return len(self.choices)
        step = self.step or (1 if self.is_whole else None)
        return None if step is None else int((self.high - self.low) / step + TOLERANCE) + 1

    def at(self, place: int) -> Any:
        """Its value at `place`, from 0 to `count` - 1."""
        if self.choices:
            return self.choices[place]
        value = self.low + place * (self.step or 1)
        return int(value) if self.is_whole else float(f"{value:.{DIGITS}g}")

    def holds(self, value: Any) -> bool:
        """Whether `value` is one of its values."""
        if self.choices:
            return any(_same(value, each) for each in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return self.low <= value <= self.high and math.isclose(
            steps, round(steps), abs_tol=TOLERANCE
        )


def dimensions(settings: Settings, plan: Plan) -> tuple[Dimension, ...]:
    """What `settings.search.knobs` let vary, in their order, without those that are `idle`.

    Raises SettingsError, one line for each mistake: a setting that is not known, that changes no
    engine, or that does not take one of its values; and where nothing is left.
    """
    if not settings.search.knobs:
        raise SettingsError("search.knobs: got none, expected a setting to vary", HOW)
    faults = []
    for name, knob in settings.search.knobs.items():
        try:
            _require_knob(name, settings, plan)
            _require_values(name, knob, settings)
        except SettingsError as error:
            faults.append(f"search.knobs: {error.message}")
    if faults:
        raise SettingsError("\n".join(faults), HOW)
    found = unchecked(settings)
    if not found:
        raise SettingsError(
            f"search.knobs: {', '.join(idle(settings))} would change nothing, for nothing is "
            "trained there",
            "set epochs above 0, or let another setting vary",
        )
    return found


def unchecked(settings: Settings) -> tuple[Dimension, ...]:
    """As `dimensions`, of a search that was made: of knobs, too, that are refused today."""
    without_effect = idle(settings)
    return tuple(
        _dimension(name, knob, settings)
        for name, knob in settings.search.knobs.items()
        if name not in without_effect
    )


def combinations(varied: Iterable[Dimension]) -> int | None:
    """How many settings there are to try; None where there is no end of them."""
    product = 1
    for each in varied:
        if each.count is None:
            return None
        product *= each.count
    return product


def combination(varied: Iterable[Dimension], place: int) -> dict[str, Any]:
    """The values at `place` of all `combinations`."""
    values = {}
    for each in varied:
        place, own = divmod(place, each.count or 1)
        values[each.name] = each.at(own)
    return values


def idle(settings: Settings) -> tuple[str, ...]:
    """The knobs that would change nothing: what only training reads, of a stage without epochs."""
    knobs = settings.search.knobs
    return tuple(
        name
        for name in knobs
        if (parts := name.partition("."))[2] in IDLE_WITHOUT_TRAINING
        and not may_train(settings, parts[0], knobs)
    )


HOW = 'as in: [search.knobs] "prune.ratio" = {low = 0.1, high = 0.8}, or "prune.criterion" = ["l2"]'


def controls(settings: Settings, varied: Sequence[Dimension]) -> list[Control]:
    """The line as it is set, and unpruned: what all trials are to beat.

    A knob that does not hold the value of the settings is left to Optuna.
    """
    given = values_of(settings, varied)
    absent = tuple(each.name for each in varied if each.name not in given)
    found = [Control(kind="as_set", values=given, left_out=absent)] if given else []
    unpruned = _unpruned(settings, varied)
    if unpruned is not None and not unpruned.items() <= given.items():
        others = tuple(name for name in absent if name not in unpruned)
        found.append(Control(kind="unpruned", values={**given, **unpruned}, left_out=others))
    return found


def _unpruned(settings: Settings, varied: Sequence[Dimension]) -> dict[str, Any] | None:
    """The values of knobs that leave the line unpruned; None where they cannot."""
    by_name, values = {each.name: each for each in varied}, {}
    for key, value in ways.UNPRUNED.items():
        name = f"prune.{key}"
        if knob := by_name.get(name):
            if not knob.holds(value):
                return None
            values[name] = value
        elif _current(settings, name) != value:
            return None
    return values


def settings_of(line: Settings, values: Mapping[str, Any]) -> Settings:
    """Those of the line with the values of a trial, and engines for the batch that it is judged at.

    Raises SettingsError.
    """
    own = config.changed(line, values)
    size, sizes = line.search.batch_size, own.build.batch_sizes
    if size in sizes:
        return own
    build = own.build.model_copy(update={"batch_sizes": (*sizes, size)})
    return own.model_copy(update={"build": build})


def each_choice(settings: Settings, varied: Iterable[Dimension]) -> Iterator[Settings]:
    """The settings with each value of the knobs that are lists, one at a time."""
    for each in varied:
        for value in each.choices:
            yield config.changed(settings, {each.name: value})


def values_of(settings: Settings, varied: Iterable[Dimension]) -> dict[str, Any]:
    """The values of `settings` by name, of those knobs that hold them."""
    found = {each.name: _current(settings, each.name) for each in varied}
    return {each.name: found[each.name] for each in varied if each.holds(found[each.name])}


def words(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The options that give a command line these values."""
    pairs = (f"{name}={config.toml_value(value)}" for name, value in values.items())
    return tuple(word for pair in pairs for word in ("--set", pair))


def _dimension(name: str, knob: Knob, settings: Settings) -> Dimension:
    if knob.values:
        return Dimension(name, tuple(knob.values))
    if knob.low is None or knob.high is None:
        raise ValueError("a knob without values is a range")
    whole = not _takes_fractions(name, knob.low, knob.high, settings)
    step = knob.step if knob.step is not None else (1 if whole and not knob.log else None)
    return Dimension(name, (), knob.low, knob.high, step, knob.log, whole)


def _require_values(name: str, knob: Knob, settings: Settings) -> None:
    for value in knob.values or (knob.low, knob.high):
        config.changed(settings, {name: value})
    found = _dimension(name, knob, settings)
    if found.is_whole and found.step is not None and found.step != int(found.step):
        raise SettingsError(f"{name}: got a step of {found.step}, expected a whole number")


def _require_knob(name: str, settings: Settings, plan: Plan) -> None:
    section, _, key = name.partition(".")
    varied = {part for stage in plan for part in stage.settings.model_fields}
    known = [
        f"{part}.{each}"
        for part in Settings.model_fields
        if part in varied
        for each in type(getattr(settings, part)).model_fields
        if part != "data" or each not in SAME_IMAGES
        if f"{part}.{each}" not in (*SAME_MEASURE, *SAME_ENGINE)
    ]
    if name in known:
        return
    if name in SAME_MEASURE:
        raise SettingsError(f"{name} decides how accuracy is measured, and is no knob")
    if section == "data" and key in SAME_IMAGES:
        raise SettingsError(f"{name} decides which images accuracy is measured on, and is no knob")
    if section in Settings.model_fields and key in type(getattr(settings, section)).model_fields:
        raise SettingsError(f"{name} changes no engine, and is no knob")
    raise SettingsError(f"unknown setting {shown(name)}{suggestion(nearest(name, known))}")


def _takes_fractions(name: str, low: float, high: float, settings: Settings) -> bool:
    try:
        config.changed(settings, {name: low + (high - low) / math.pi})
    except SettingsError:
        return False
    return True


def _current(settings: Settings, name: str) -> Any:
    section, _, key = name.partition(".")
    value = getattr(getattr(settings, section), key)
    return list(value) if isinstance(value, tuple) else value


def _same(value: Any, other: Any) -> bool:
    """1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool) != isinstance(other, bool):
        return False
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(value) == list(other)
    return bool(value == other)
