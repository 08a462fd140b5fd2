"""What may be compared with what: the rules behind every "change" and "speed-up".

- Two latencies are compared only if one benchmark timed both in turns, or if both are
  `tf.function` runs on the same machine. ONNX Runtime against `tf.function` is never a speed-up.
- A model is as fast as its fastest thread count, on both sides of the comparison.
- Two accuracies are compared only over the same number of test images.
- A stage made from older files than those recorded now is compared with nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pipeline.results.model import BENCHMARK, EngineReport, Report, ReportRow, StageReport
from stages.engines.registry import EngineName
from stages.results.base import LatencyRow, Quality
from stages.results.engines import BuildDetails, EngineChoice

Row = TypeVar("Row", bound=LatencyRow)

STAGE_ENGINES = {
    "prune": EngineName("onnxruntime", "fp32"),
    "quantize": EngineName("onnxruntime", "int8"),
}
"""The engines as which the benchmark runs the models of these stages; train's is the baseline."""


def batch_sizes(rows: Iterable[LatencyRow]) -> list[int]:
    """The batch sizes that were timed, smallest first."""
    return sorted({row.batch_size for row in rows})


def compared_batch(report: Report) -> int | None:
    """The smallest batch size of the benchmark; without one, of any stage."""
    stages = [row for stage in report.stages for row in stage.latency]
    timed = [row for row in stages if row.measured_in == BENCHMARK]
    timed += [row for engine in ran(report) for row in engine.latency]
    return next(iter(batch_sizes(timed) or batch_sizes(stages)), None)


def fastest(rows: Iterable[Row], batch_size: int | None) -> Row | None:
    """The row with the lowest p50 at this batch size."""
    return min(at_batch(rows, batch_size), key=lambda row: row.p50_ms, default=None)


def at_batch(rows: Iterable[Row], batch_size: int | None) -> list[Row]:
    """The rows of this batch size, one per thread count."""
    return [row for row in rows if row.batch_size == batch_size]


def stage_row(stage: StageReport, batch_size: int | None) -> ReportRow | None:
    """The row that stands for a stage: its model in ONNX Runtime if that was timed."""
    joined = [row for row in stage.latency if row.measured_in == BENCHMARK]
    return fastest(joined, batch_size) or fastest(stage.latency, batch_size)


def ran(report: Report) -> list[EngineReport]:
    """The engines that were executed."""
    return [engine for engine in report.engines if engine.state == "ran"]


def benchmarked(report: Report) -> list[EngineReport]:
    """The engines that the benchmark timed."""
    return [engine for engine in report.engines if engine.is_benchmarked]


def chosen_engine(report: Report) -> tuple[EngineReport, ReportRow] | None:
    """The engine that the run stands for, and its row at the compared batch size.

    The one that build chose by latency within the accuracy budget, if the benchmark timed it;
    else the benchmarked engine with the lowest p50.
    """
    batch = compared_batch(report)
    rows = [(engine, fastest(engine.latency, batch)) for engine in benchmarked(report)]
    timed = [(engine, row) for engine, row in rows if row is not None]
    wanted = build_choice(report, batch)
    chosen = [pair for pair in timed if pair[0].name == wanted]
    return min(chosen or timed, key=lambda pair: pair[1].p50_ms, default=None)


def build_choice(report: Report, batch_size: int | None) -> EngineName | None:
    """The engine that build chose for this batch size, unless its record is outdated."""
    choice = current_choice(report)
    chosen = choice.chosen.get(batch_size) if choice and batch_size else None
    return EngineName.parse(chosen.engine) if chosen else None


def current_choice(report: Report) -> EngineChoice | None:
    """How build chose, unless its record is outdated or no engine ran there."""
    details = report.details(BuildDetails)
    if details is None or details.choice is None or not report.is_current("build"):
        return None
    return details.choice if details.choice.chosen else None


def stage_speedup(report: Report, stage: StageReport) -> float | None:
    """How many times faster than the trained model the stage's model is."""
    train = report.stage("train")
    if train is None or stage.outdated or train.outdated:
        return None
    batch = compared_batch(report)
    row, against = stage_row(stage, batch), stage_row(train, batch)
    if row is None or against is None:
        return None
    in_benchmark = row.measured_in == against.measured_in == BENCHMARK
    in_graph = row.runtime == against.runtime == "tf.function"
    is_same_machine = stage.environment.hardware() == train.environment.hardware()
    if in_benchmark or (in_graph and is_same_machine):
        return ratio(against.p50_ms, row.p50_ms)
    return None


def engine_speedup(report: Report, engine: EngineReport, batch_size: int) -> float | None:
    """How many times faster than the baseline a benchmarked engine is at this batch size."""
    row = fastest(engine.latency, batch_size)
    against = fastest(report.baseline.latency, batch_size)
    if row is None or against is None or engine.measured_in != BENCHMARK:
        return None
    return ratio(against.p50_ms, row.p50_ms)


def stability(row: LatencyRow) -> str:
    """ "stable", "UNSTABLE", or "" of a row that does not say."""
    if row.stable is None:
        return ""
    return "stable" if row.stable else "UNSTABLE"


def ratio(over: float | None, under: float | None) -> float | None:
    """`over` / `under`, None where either is unknown or nothing."""
    return over / under if over and under else None


def change_points(accuracy: Quality | None, against: Quality | None) -> float | None:
    """Points of accuracy, or of the task's metric, won (+) or lost (-) on equally many images."""
    if accuracy is None or against is None or accuracy.score is None or against.score is None:
        return None
    if accuracy.samples is None or accuracy.samples != against.samples:
        return None
    return None if accuracy.metric != against.metric else (accuracy.score - against.score) * 100


def stage_change(report: Report, stage: StageReport) -> float | None:
    """`change_points` of a stage against `train`."""
    train = report.stage("train")
    if train is None or train is stage or stage.outdated:
        return None
    return change_points(stage.accuracy, train.accuracy)


def engine_change(report: Report, engine: EngineReport) -> float | None:
    """`change_points` of a benchmarked engine against the trained model."""
    if engine.measured_in != BENCHMARK:
        return None
    return change_points(engine.accuracy, trained_accuracy(report))


def trained_accuracy(report: Report) -> Quality:
    """That of `train`; of the baseline, the same model in ONNX Runtime, where train has not run."""
    train = report.stage("train")
    if train and report.is_current("benchmark"):
        return train.accuracy
    return report.baseline.accuracy
