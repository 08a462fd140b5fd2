"""What stages measured that no other section shows: the results of a stage of your own."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.report.tables import Table, fact_table
from pipeline.results.model import Report
from stages.results.base import Details
from stages.results.conversion import ConvertDetails
from stages.results.engines import BenchmarkDetails, BuildDetails
from stages.results.pruning import PruneDetails
from stages.results.quantization import QuantizeDetails
from stages.results.training import TrainDetails, TrainingDetails

KNOWN: tuple[type[Details], ...] = (
    TrainDetails,
    PruneDetails,
    QuantizeDetails,
    ConvertDetails,
    BuildDetails,
    BenchmarkDetails,
    TrainingDetails,
    Details,
)
"""Details whose fields have sections; a class stands before those it is derived from."""


def tables(report: Report) -> Iterator[Table]:
    """One table per stage that measured more than the other sections know."""
    for stage in report.stages:
        known = next(kind for kind in KNOWN if isinstance(stage.details, kind))
        values = stage.details.model_dump(mode="json", exclude=set(known.model_fields))
        yield fact_table(f"Measured by {stage.stage}", "As the stage recorded it", values)
