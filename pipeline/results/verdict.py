"""What came out, in a few plain sentences that claim nothing that was not measured."""

from __future__ import annotations

from pipeline.results import comparability, parity, speedup_steps, units
from pipeline.results.model import EngineReport, Report
from stages.numerics import proportions
from stages.results.base import LatencyRow, Quality
from stages.results.training import TrainDetails


def verdict(report: Report) -> list[str]:
    """One to five sentences on an assembled report; a parity check that failed comes first."""
    mismatch = parity.failure(report)
    return ([mismatch] if mismatch else []) + _results(report)


def _results(report: Report) -> list[str]:
    benchmark = report.stage("benchmark")
    if benchmark is not None and benchmark.outdated:
        return ["The benchmark is older than the model: no verdict. Run: pipeline run all"]
    if guess := _guess(report):
        return [guess]
    found = comparability.chosen_engine(report)
    if found is None:
        return [_unfinished(report)]
    return [
        _fastest(report, *found),
        *_shares(report),
        *_throughput(report),
        *_doubts(report),
    ]


def _guess(report: Report) -> str | None:
    """A warning in place of a verdict where the trained model may as well guess.

    To name the most frequent class of the test images for every image takes no model. The trained
    one knows more only if the 95 % interval of its accuracy lies above that class's share.
    """
    train, details = report.stage("train"), report.details(TrainDetails)
    if train is None or details is None or details.classification is None:
        return None
    top1, samples = train.accuracy.top1, train.accuracy.samples
    if top1 is None or not samples:
        return None
    chance = max(each.support for each in details.classification.per_class) / samples
    if proportions.wilson(round(top1 * samples), samples).low > chance:
        return None
    return (
        f"The trained model is no better than chance: {units.percent(top1)} of "
        f"{samples:,} images, and {units.percent(chance)} are of one class. No verdict: check "
        "data.scale, train.epochs and the labels."
    )


def _fastest(report: Report, engine: EngineReport, row: LatencyRow) -> str:
    baseline = report.baseline
    against = comparability.fastest(baseline.latency, row.batch_size)
    if against is None:
        parts = [f"fastest at batch {row.batch_size}: {units.milliseconds(row.p50_ms)} ms"]
    else:
        speed = _faster(comparability.ratio(against.p50_ms, row.p50_ms))
        parts = [f"{speed} the trained model in ONNX Runtime float32 ({_from_to(against, row)})"]
    parts += _smaller(comparability.ratio(baseline.size_bytes, engine.size_bytes))
    parts += _accurate(comparability.engine_change(report, engine), engine.accuracy)
    return f"{engine.name.words}: {', '.join(parts)}."


def _faster(factor: float | None) -> str:
    if factor is None or units.times(factor) == "1.0x":
        return "as fast as"
    faster, slower = units.times(factor), units.times(1 / factor)
    return f"{faster} faster than" if factor > 1 else f"{slower} slower than"


def _from_to(against: LatencyRow, row: LatencyRow) -> str:
    """ "0.0551 -> 0.00798 ms at batch 1": p50, with thread counts where they matter."""
    before, after = (units.milliseconds(each.p50_ms) for each in (against, row))
    batch = f"at batch {row.batch_size}"
    if against.threads != row.threads:
        return f"{before} ms on {against.threads} -> {after} ms on {row.threads} threads {batch}"
    threads = f", {row.threads} threads" if row.threads > 1 else ""
    return f"{before} -> {after} ms {batch}{threads}"


def _smaller(factor: float | None) -> list[str]:
    if factor is None:
        return []
    if units.times(factor) == "1.0x":
        return ["as large"]
    return [f"{units.times(factor)} smaller" if factor > 1 else f"{units.times(1 / factor)} larger"]


def _accurate(change: float | None, accuracy: Quality) -> list[str]:
    if change is None or accuracy.samples is None:
        known = accuracy.top1 is not None
        return [f"{units.percent(accuracy.top1)} accurate"] if known else []
    images = round(abs(change) / 100 * accuracy.samples)
    if images == 0:
        return ["as accurate"]
    word = "more" if change > 0 else "less"
    of = f"{images:,} of {accuracy.samples:,} images"
    return [f"{units.points(abs(change)).lstrip('+')} points {word} accurate ({of})"]


def _shares(report: Report) -> list[str]:
    """What every step brought of the speed-up, as far as they were timed apart."""
    steps = speedup_steps.brought(speedup_steps.steps(report))
    together = next((cause for cause, _ in steps if " and " in cause), None)
    if len(steps) < 2:
        return [f"How much {together} brought each was not timed."] if together else []
    parts = [
        f"{cause}{' together' if cause == together else ''} brought {units.times(factor)}"
        for cause, factor in steps
    ]
    parts[1:] = [part.replace(" brought", "") for part in parts[1:]]
    parts[0] += " of that"
    why = " (not timed apart)" if together else ""
    text = f"{', '.join(parts)}{why}."
    return [text[:1].upper() + text[1:]]


def _doubts(report: Report) -> list[str]:
    """A warning where one of the two timings that are compared was not steady."""
    way = speedup_steps.steps(report)
    shaky = [step.name for step in (way[:1] + way[-1:]) if step.row.stable is False]
    if not shaky:
        return []
    return [f"UNSTABLE: the timing of {' and '.join(shaky)} moved while it was measured."]


def _throughput(report: Report) -> list[str]:
    """The engine with the most images per second at the largest batch, if there is a larger one."""
    engines = comparability.benchmarked(report)
    sizes = comparability.batch_sizes(row for engine in engines for row in engine.latency)
    if len(sizes) < 2:
        return []
    rows = [(comparability.fastest(engine.latency, sizes[-1]), engine) for engine in engines]
    timed = [(row, engine) for row, engine in rows if row]
    row, engine = max(timed, key=lambda pair: pair[0].images_per_second)
    against = comparability.fastest(report.baseline.latency, sizes[-1])
    rate = against.images_per_second if against else None
    factor = comparability.ratio(row.images_per_second, rate)
    compared = f", {units.times(factor)} the trained model's" if factor else ""
    return [
        f"Most images per second: {engine.name.words}, {units.count(row.images_per_second)} "
        f"at batch {sizes[-1]}{compared}."
    ]


def _unfinished(report: Report) -> str:
    """What is known before an engine was timed."""
    if report.engines:
        built = sum(engine.state != "unavailable" for engine in report.engines)
        return (
            f"{built} of {len(report.engines)} engines built, none benchmarked yet. "
            "Run: pipeline run all"
        )
    known = [stage for stage in report.stages if stage.accuracy.top1 is not None]
    if not known:
        return "Nothing was measured yet. Run: pipeline run all"
    last = known[-1]
    right = f"{units.percent(last.accuracy.top1)} of {units.count(last.accuracy.samples)}"
    return f"{last.stage}: {right} images right; no engine was built yet. Run: pipeline run all"
