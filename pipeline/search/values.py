"""The values of a trial as Optuna holds them, and as settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.search.knobs import DIGITS, Dimension

if TYPE_CHECKING:
    import optuna


def suggest(trial: optuna.trial.Trial, varied: Dimension) -> None:
    """Have Optuna choose a value, unless the trial has one."""
    name, low, step = varied.name, varied.low, varied.step
    if varied.choices:
        trial.suggest_categorical(name, [json.dumps(each) for each in varied.choices])
    elif varied.count is None:
        trial.suggest_float(name, low, varied.high, log=varied.log)
    elif varied.is_whole:
        last = varied.at(varied.count - 1)
        trial.suggest_int(name, int(low), last, step=int(step or 1), log=varied.log)
    else:
        trial.suggest_float(name, low, varied.at(varied.count - 1), step=step)


def encoded(varied: Dimension, value: Any) -> Any:
    """A choice travels as JSON: Optuna's storages take plain values only."""
    if not varied.choices:
        return value
    return json.dumps(next(each for each in varied.choices if each == value))


def decoded(params: Mapping[str, Any]) -> dict[str, Any]:
    """As settings: Optuna counts 0.15 that was set and 3 * 0.05 that was drawn as two values."""
    return {name: _decoded(value) for name, value in params.items()}


def _decoded(value: Any) -> Any:
    if isinstance(value, str):
        return json.loads(value)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
