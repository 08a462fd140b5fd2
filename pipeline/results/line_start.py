"""What a report can know where only a part of the line was copied to the machine."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.core import received
from pipeline.core.plan import PLAN, Stage, ancestors, rest
from pipeline.results import units
from pipeline.results.model import Report
from stages.results.conversion import ConvertDetails
from stages.results.engines import BenchmarkDetails


def rerun(report: Report) -> str:
    """The command that brings the whole report up to date on this machine."""
    start = _start(report)
    return f"pipeline run {' '.join(each.name for each in rest(PLAN, start)) if start else 'all'}"


def unknown(report: Report) -> Iterator[str]:
    """Sentences on what was not measured here, and on how many test images accuracy rests."""
    if start := _start(report):
        absent = units.listed([each.name for each in ancestors(PLAN, (start,))])
        yield f"The line starts at {start.name} here: what {absent} measured is not known."
    yield from _fewer_images(report)


def _start(report: Report) -> Stage | None:
    return received.start(PLAN, {stage.stage for stage in report.stages})


def _fewer_images(report: Report) -> Iterator[str]:
    details, convert = report.details(BenchmarkDetails), report.details(ConvertDetails)
    taken = report.baseline.accuracy.samples
    if details is None or details.images != "carried" or taken is None:
        return
    whole = convert.carried.test_samples if convert and convert.carried else None
    if taken != whole:
        of = f" of the {units.count(whole)}" if whole else ""
        yield f"Accuracy is that on {units.count(taken)}{of} test images, which convert carried."
