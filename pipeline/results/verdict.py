"""What came out, in a few plain sentences that claim nothing that was not measured."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.results import (
    accuracy_claims,
    comparability,
    engine_choice,
    line_start,
    parity,
    speedup_steps,
    units,
)
from pipeline.results.model import EngineReport, Report
from stages.numerics import chance
from stages.results.base import LatencyRow
from stages.results.engines import BenchmarkDetails
from stages.results.training import Classification, TrainDetails


def verdict(report: Report) -> list[str]:
    """A few sentences on an assembled report; a parity check that failed comes first."""
    mismatch = parity.failure(report)
    return ([mismatch] if mismatch else []) + _results(report)


def _results(report: Report) -> list[str]:
    benchmark = report.stage("benchmark")
    if benchmark is not None and benchmark.outdated:
        return [
            f"The benchmark is older than the model: no verdict. Run: {line_start.rerun(report)}"
        ]
    if guess := _guess(report):
        return [guess]
    found = comparability.chosen_engine(report)
    if found is None:
        return [_unfinished(report)]
    return [
        _engine(report, *found),
        *engine_choice.shortfall(report),
        *accuracy_claims.epochs(report),
        *_steps(report),
        *_throughput(report),
        *_doubts(report),
        *line_start.unknown(report),
    ]


def _guess(report: Report) -> str | None:
    """A warning in place of a verdict where the trained model may as well guess.

    It knows something only if it gets more images right than its answers, dealt to the images at
    random, would in 95 of 100 cases (stages/numerics/chance.py).
    """
    classes, accuracy = _trained_classes(report), comparability.trained_accuracy(report)
    if not accuracy.is_counted:
        return _guess_of_numbers(report)
    if classes is None or accuracy.top1 is None or not accuracy.samples:
        return None
    share = _chance(classes, accuracy.samples)
    if chance.is_above(round(accuracy.top1 * accuracy.samples), accuracy.samples, share):
        return None
    return (
        f"The trained model is not shown to be better than chance: {units.percent(accuracy.top1)} "
        f"of {accuracy.samples:,} images are right, and {units.percent(share)} would be by chance. "
        "No verdict: check data.scale, train.epochs and the labels."
    )


def _guess_of_numbers(report: Report) -> str | None:
    """As `_guess`, by what the benchmark found where no images can be counted."""
    details = report.details(BenchmarkDetails)
    if details is None or details.knows_more_than_luck is not False:
        return None
    accuracy = report.baseline.accuracy
    return (
        f"The trained model is not shown to be better than chance: {accuracy.words} is "
        f"{units.percent(accuracy.score)} on {units.count(accuracy.samples)} images, and its "
        "answers dealt to other images reach as much. No verdict: check data.scale, train.epochs "
        "and the labels."
    )


def _trained_classes(report: Report) -> Classification | None:
    """The trained model's; those of the baseline where only the graphs were copied to."""
    if train := report.details(TrainDetails):
        return train.classification
    benchmark = report.details(BenchmarkDetails)
    return benchmark.classification.get("baseline") if benchmark else None


def _chance(classes: Classification, samples: int) -> float:
    """Share of hits by chance; of many classes, which have no confusion, that of the largest."""
    support = [each.support for each in classes.per_class]
    if not classes.confusion:
        return max(support) / samples
    predicted: list[int] = [sum(column) for column in zip(*classes.confusion, strict=True)]
    agreeing = sum(true * named for true, named in zip(support, predicted, strict=True))
    return agreeing / (samples * samples)


def _engine(report: Report, engine: EngineReport, row: LatencyRow) -> str:
    baseline = report.baseline
    against = comparability.fastest(baseline.latency, row.batch_size)
    if against is None:
        parts = [f"{units.milliseconds(row.p50_ms)} ms at batch {row.batch_size}"]
    else:
        factor = against.p50_ms / row.p50_ms
        speed = units.compared(factor, "faster than", "slower than", "about as fast as")
        parts = [f"{speed} the trained model in ONNX Runtime float32 ({_from_to(against, row)})"]
    if smaller := comparability.ratio(baseline.size_bytes, engine.size_bytes):
        parts.append(units.compared(smaller, "smaller", "larger", "about as large"))
    parts += accuracy_claims.against_trained(report, engine)
    return f"{engine.name.words}: {', '.join(parts)}."


def _from_to(against: LatencyRow, row: LatencyRow) -> str:
    """ "0.0551 -> 0.00798 ms at batch 1": p50, with thread counts where they matter."""
    before, after = (units.milliseconds(each.p50_ms) for each in (against, row))
    batch = f"at batch {row.batch_size}"
    if against.threads != row.threads:
        return f"{before} ms on {against.threads} -> {after} ms on {row.threads} threads {batch}"
    threads = f", {row.threads} threads" if row.threads > 1 else ""
    return f"{before} -> {after} ms {batch}{threads}"


def _steps(report: Report) -> list[str]:
    """How many times as fast every step made it, as far as they were timed apart."""
    steps = speedup_steps.brought(speedup_steps.steps(report))
    together = next((cause for cause, _ in steps if " and " in cause), None)
    if len(steps) < 2:
        return [f"How much {together} brought each was not timed."] if together else []
    parts = [
        f"{cause}{' together' if cause == together else ''} {units.times(factor)}"
        for cause, factor in steps
    ]
    why = " (not timed apart)" if together else ""
    return [f"Step by step: {', '.join(parts)}{why}."]


def _doubts(report: Report) -> list[str]:
    """A warning where one of the timings that the sentences before rest on is not certain."""
    shaky = [step.name for step in speedup_steps.steps(report) if step.row.stable is False]
    return [f"UNSTABLE, the median is not certain: {', '.join(shaky)}."] if shaky else []


def _throughput(report: Report) -> list[str]:
    """The engine with the most images per second at the largest batch, if there is a larger one."""
    engines = comparability.benchmarked(report)
    sizes = comparability.batch_sizes(row for engine in engines for row in engine.latency)
    if len(sizes) < 2:
        return []
    rates = [
        (rate, how, row, engine)
        for how, rate_of in RATES.items()
        for engine in engines
        for row in comparability.at_batch(engine.latency, sizes[-1])
        if (rate := rate_of(row))
    ]
    most, how, row, engine = max(rates, key=lambda each: each[0])
    base = comparability.at_batch(report.baseline.latency, sizes[-1])
    against = max((RATES[how](each) or 0.0 for each in base), default=None)
    factor = comparability.ratio(most, against)
    compared = f", {units.times(factor)} the trained model's" if factor else ""
    doubt = " (UNSTABLE)" if row.stable is False and how == ONE_BY_ONE else ""
    return [
        f"Most images per second at batch {sizes[-1]}: {engine.name.words} {how}, "
        f"{units.count(most)}{doubt}{compared}."
    ]


ONE_BY_ONE = "one call after the other"
RATES: dict[str, Callable[[LatencyRow], float | None]] = {
    ONE_BY_ONE: lambda row: row.images_per_second,
    "kept busy": lambda row: row.saturated_images_per_second,
}
"""Ways to count images per second: all are in the table of latencies, so the most is of all."""


def _unfinished(report: Report) -> str:
    """What is known before an engine was timed."""
    if report.engines and report.is_current("benchmark"):
        return "None of the engines ran in the benchmark. Which can run here: pipeline doctor"
    if report.engines:
        built = sum(engine.state != "unavailable" for engine in report.engines)
        return (
            f"{built} of {len(report.engines)} engines built, none benchmarked yet. "
            f"Run: {line_start.rerun(report)}"
        )
    known = [stage for stage in report.stages if stage.accuracy.score is not None]
    again = line_start.rerun(report)
    if not known:
        return f"Nothing was measured yet. Run: {again}"
    last = known[-1]
    score, samples = units.percent(last.accuracy.score), units.count(last.accuracy.samples)
    right = f"{score} of {samples} images right"
    if not last.accuracy.is_counted:
        right = f"{last.accuracy.words} {score} on {samples} images"
    return f"{last.stage}: {right}; no engine was built yet. Run: {again}"
