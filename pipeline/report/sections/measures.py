"""What is measured beside the metric that decides, for tasks other than classification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.report.sections import engines
from pipeline.report.tables import Table
from pipeline.results import comparability, outputs, units
from pipeline.results.model import Report
from stages.results.base import Quality
from stages.tasks.registry import METRICS


def tables(report: Report) -> Iterator[Table]:
    """Of what decides in each of several outputs, and of all else."""
    yield output_table(report)
    yield measure_table(report)


def output_table(report: Report) -> Table:
    """What decides in every output, of the stages' models and of the engines, on the test split;
    raw ones are not judged by themselves."""
    models = {name: each.outputs for name, each in _models(report) if each.outputs}
    first: Mapping[str, Quality] = next(iter(models.values()), {})
    judged = {name: each.words for name, each in first.items() if each.score is not None}
    return Table(
        "Outputs",
        "Of the test images, by output",
        ("model", *(f"{name}: {words}" for name, words in judged.items())),
        tuple(
            (model, *(_score(scores.get(name)) for name in judged))
            for model, scores in models.items()
            if judged
        ),
        notes=tuple(
            f"{name}: {sentence}"
            for name, view in outputs.each(report)
            for sentence in engines.image_by_image(view)
        ),
    )


def _score(quality: Quality | None) -> str:
    is_known = quality is not None and quality.score is not None
    return units.percent(quality.score) if quality and is_known else units.UNKNOWN


def measure_table(report: Report) -> Table:
    """Every other measure of the stages' models and of the engines, on the test split."""
    models = dict(_models(report))
    shown = [
        name
        for name in METRICS
        if any(name in (each.measures or {}) and name != each.metric for each in models.values())
    ]
    return Table(
        "Other metrics",
        "Of the test images, beside what decides",
        ("model", *(METRICS[name].words for name in shown)),
        tuple(
            (model, *(_cell(name, quality) for name in shown)) for model, quality in models.items()
        )
        if shown
        else (),
    )


def _models(report: Report) -> Iterator[tuple[str, Quality]]:
    for stage in report.stages:
        if stage.stage in ("train", "prune", "quantize") and stage.accuracy.measures:
            yield f"{stage.stage} (old)" if stage.outdated else stage.stage, stage.accuracy
    for engine in comparability.benchmarked(report):
        if engine.accuracy.measures:
            yield engine.name.words, engine.accuracy


def _cell(name: str, quality: Quality) -> str:
    value = (quality.measures or {}).get(name)
    if value is None:
        return units.UNKNOWN
    return units.percent(value) if METRICS[name].is_share else f"{value:.4g}"
