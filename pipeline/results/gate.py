"""The quality gates: what the engine that a run stands for must reach, and that parity holds.

That engine is the one that build chose, else the fastest of the benchmark, at the smallest
batch size (pipeline/results/comparability.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.results import accuracy_claims, comparability, parity, units
from pipeline.results.model import EngineReport, GateResult, Report, read
from stages.errors import ArtifactError, GateFailed
from stages.results.base import LatencyRow
from stages.settings import Gates

ROUNDING = 1e-9
"""Shares of samples are no exact floats: a loss of exactly the allowed points passes."""

CLOSE = 1.02
"""A value that is missed by less is written with what it was missed by."""

BYTES_PER_MB = 1e6

PASSED, MISSED, NOT_JUDGED = "passed", "missed", "not judged"

NO_BENCHMARK = "there is no benchmark of these artifacts as they are now"
NO_ENGINE = "nothing to compare, for no engine ran here on the test split"
NO_PARITY = "there is no parity check of these artifacts as they are now"


@dataclass(frozen=True)
class Gate:
    """How one gate is judged: report, name and limit in; the fields of a GateResult out that are
    not known beforehand."""

    unit: str
    judge: Callable[[Report, str, float], Judgement]
    hint: str


@dataclass(frozen=True)
class Judgement:
    """Of one gate; `got` is None where it was not measured."""

    state: str
    reason: str
    engine: str | None = None
    got: float | None = None


def judge(report: Report, limits: Mapping[str, float]) -> list[GateResult]:
    """One result per limit; limits have the names of the settings section `gates`.

    Without a benchmark a gate is not judged; a benchmark in which no engine ran has missed it.
    """
    return [
        GateResult.model_validate(
            {
                "gate": name,
                "limit": limit,
                "unit": GATES[name].unit,
                **vars(GATES[name].judge(report, name, limit)),
            }
        )
        for name, limit in limits.items()
    ]


def _of_engine(
    value: Callable[[Report, EngineReport, LatencyRow], float | None],
    sentence: Callable[[EngineReport, LatencyRow, float], str],
) -> Callable[[Report, str, float], Judgement]:
    """The judge of a gate on the engine that the run stands for, by a value and words for it."""

    def judge(report: Report, name: str, limit: float) -> Judgement:
        if not report.is_current("benchmark"):
            return Judgement(NOT_JUDGED, NO_BENCHMARK)
        found = comparability.chosen_engine(report)
        got = None if found is None else value(report, *found)
        if found is None or got is None:
            return Judgement(MISSED, NO_ENGINE)
        engine, row = found
        what = sentence(engine, row, got) + _doubt(name, limit, report, engine, row)
        is_missed = got > limit + ROUNDING
        # Rounded, a value just above its limit reads like the limit.
        excess = f", missed by {got - limit:.2g}" if is_missed and got < CLOSE * limit else ""
        return Judgement(
            MISSED if is_missed else PASSED,
            f"{what}; allowed are {limit:g} {GATES[name].unit}{excess}",
            engine.name.words,
            got,
        )

    return judge


def _parity(report: Report, _: str, __: float) -> Judgement:
    results = parity.judged(report)
    failed = [what for what, passed in results.items() if not passed]
    if not results:
        return Judgement(NOT_JUDGED, NO_PARITY)
    if not failed:
        return Judgement(PASSED, f"all {len(results)} parity checks hold", got=0)
    what = f"{len(failed)} of {len(results)} parity checks fail, the first is {failed[0]}"
    return Judgement(MISSED, f"{what}; allowed are 0 checks", got=len(failed))


def enforce(results: Sequence[GateResult]) -> None:
    """Raise GateFailed if a gate was missed: a line per gate, with got and allowed."""
    missed = [result for result in results if result.state == MISSED]
    if missed:
        hints = [GATES[result.gate].hint for result in missed if result.got is not None]
        raise GateFailed(
            "\n".join(map(in_words, missed)),
            "\n".join(hints) or "which engines run here: pipeline doctor",
        )


def in_words(result: GateResult) -> str:
    """ "gates.max_p50_ms missed: litert int8 takes 0.0080 ms at batch 1; allowed are 0.005 ms"."""
    return f"gates.{result.gate} {result.state}: {result.reason}"


def limits_of(gates: Gates) -> dict[str, float]:
    """The gates that are set; that of parity allows no failure."""
    given = {name: limit for name, limit in gates if limit is not None and limit is not False}
    return {name: 0.0 if limit is True else limit for name, limit in given.items()}


def limits_before(artifacts: Path) -> dict[str, float]:
    """The limits that the last run judged by, from its report.json; none without one.

    Raises ArtifactError for a damaged one: a gate must not vanish in silence.
    """
    file = artifacts / "report.json"
    try:
        report = read(file.read_bytes())
    except OSError:
        return {}
    except ValueError as error:
        raise ArtifactError(f"{file} is damaged: {error}", "run: pipeline run report") from error
    return {result.gate: result.limit for result in report.gates}


def _accuracy_drop(report: Report, engine: EngineReport, _: LatencyRow) -> float | None:
    change = comparability.engine_change(report, engine)
    return None if change is None else -change


def _accuracy_sentence(engine: EngineReport, _: LatencyRow, got: float) -> str:
    reached = units.percent(engine.accuracy.score)
    distance = f"{abs(got):.2f} points {'below' if got > 0 else 'above'}"
    where = "as" if units.points(got) == "0.00" else distance
    words = "top-1 accuracy" if engine.accuracy.is_counted else engine.accuracy.words
    return f"{engine.name.words} has {reached} {words}, {where} the trained model"


def _latency_sentence(engine: EngineReport, row: LatencyRow, got: float) -> str:
    return f"{engine.name.words} takes {units.milliseconds(got)} ms (p50) at batch {row.batch_size}"


def _size_mb(_: Report, engine: EngineReport, __: LatencyRow) -> float | None:
    return None if engine.size_bytes is None else engine.size_bytes / BYTES_PER_MB


def _size_sentence(engine: EngineReport, _: LatencyRow, got: float) -> str:
    return f"{engine.name.words} has {units.size(got * BYTES_PER_MB)}"


def _doubt(name: str, limit: float, report: Report, engine: EngineReport, row: LatencyRow) -> str:
    if name == "max_p50_ms" and row.p50_low_ms is not None and row.p50_high_ms is not None:
        low, high = row.p50_low_ms, row.p50_high_ms
        bounds = f"{units.milliseconds(low)} to {units.milliseconds(high)} ms"
    elif name == "max_accuracy_drop" and (
        found := accuracy_claims.interval(report, engine.accuracy, engine.name)
    ):
        low, high = -found.high, -found.low
        bounds = f"{units.points(low)} to {units.points(high)} points lost"
    else:
        return ""
    return f", too close to be sure (95 % interval: {bounds})" if low <= limit <= high else ""


GATES = {
    "max_accuracy_drop": Gate(
        "points",
        _of_engine(_accuracy_drop, _accuracy_sentence),
        "lower prune.ratio or raise quantize.epochs, or allow more with --max-accuracy-drop",
    ),
    "max_p50_ms": Gate(
        "ms",
        _of_engine(lambda _, __, row: row.p50_ms, _latency_sentence),
        "raise prune.ratio, or build more kinds of engines: build.backends, build.precisions",
    ),
    "max_size_mb": Gate(
        "MB",
        _of_engine(_size_mb, _size_sentence),
        "raise prune.ratio, or add int8 to build.precisions",
    ),
    "parity": Gate(
        "checks",
        _parity,
        "see the parity checks in report.html; to go on without them, leave out --strict-parity",
    ),
}
"""The fields of the settings section `gates`, by the same names."""
