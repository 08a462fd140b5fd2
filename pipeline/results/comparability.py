"""What may be compared with what: the rules behind every "change" and "speed-up".

- Two latencies are compared only if one benchmark timed both in turns, or if both are
  `tf.function` runs on the same machine. ONNX Runtime against `tf.function` is never a speed-up.
- A model is as fast as its fastest thread count, on both sides of the comparison.
- Two accuracies are compared only over the same number of test images.
- A stage made from older files than those recorded now is compared with nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Report = Mapping[str, Any]

P99_SAMPLES = 1000
"""With fewer samples fewer than ten lie above p99, so that a few outliers decide it."""


def stage_named(report: Report, name: str) -> Mapping[str, Any] | None:
    """The stage's entry, None if it has no record."""
    return next((stage for stage in report["stages"] if stage["stage"] == name), None)


def batch_sizes(rows: Iterable[Row]) -> list[int]:
    """The batch sizes with a known p50, smallest first."""
    found = {row["batch_size"] for row in rows if row["p50_ms"] and row["batch_size"]}
    return sorted(found)


def compared_batch(report: Report) -> int | None:
    """The smallest batch size of the benchmark; without one, of any stage."""
    stages = [row for stage in report["stages"] for row in stage["latency"]]
    timed = [row for row in stages if row["measured_in"] == "benchmark"]
    timed += [row for engine in ran(report) for row in engine["latency"]]
    return next(iter(batch_sizes(timed) or batch_sizes(stages)), None)


def fastest(rows: Sequence[Row], batch_size: int | None) -> Row | None:
    """The row with the lowest p50 at this batch size."""
    known = [row for row in rows if row["batch_size"] and row["p50_ms"]]
    timed = [row for row in known if row["batch_size"] == batch_size]
    return min(timed, key=lambda row: row["p50_ms"], default=None)


def stage_row(stage: Mapping[str, Any], batch_size: int | None) -> Row | None:
    """The row that stands for a stage: its model in ONNX Runtime if that was timed."""
    joined = [row for row in stage["latency"] if row["measured_in"] == "benchmark"]
    return fastest(joined, batch_size) or fastest(stage["latency"], batch_size)


def ran(report: Report) -> list[Mapping[str, Any]]:
    """The engines that were executed."""
    return [engine for engine in report["engines"] if engine["state"] == "ran"]


def benchmarked(report: Report) -> list[Mapping[str, Any]]:
    """The engines that the benchmark timed."""
    return [engine for engine in ran(report) if engine["measured_in"] == "benchmark"]


def chosen_engine(report: Report) -> tuple[Mapping[str, Any], Row] | None:
    """The engine that the run stands for, and its row at the compared batch size.

    The one that build chose by latency within the accuracy budget, if the benchmark timed it;
    else the benchmarked engine with the lowest p50.
    """
    batch = compared_batch(report)
    rows = [(engine, fastest(engine["latency"], batch)) for engine in benchmarked(report)]
    timed = [(engine, row) for engine, row in rows if row is not None]
    wanted = _choice(report, batch)
    chosen = [pair for pair in timed if f"{pair[0]['backend']}.{pair[0]['precision']}" == wanted]
    return min(chosen or timed, key=lambda pair: pair[1]["p50_ms"], default=None)


def _choice(report: Report, batch_size: int | None) -> str | None:
    """The name of the engine that build chose for this batch size, as in "litert.int8"."""
    build = stage_named(report, "build")
    if build is None or build["outdated"]:
        return None
    chosen = (build["details"].get("auto") or {}).get("chosen") or {}
    found: str | None = (chosen.get(str(batch_size)) or {}).get("engine")
    return found


def stage_speedup(report: Report, stage: Mapping[str, Any]) -> float | None:
    """How many times faster than the trained model the stage's model is."""
    train = stage_named(report, "train")
    if train is None or stage["outdated"] or train["outdated"]:
        return None
    batch = compared_batch(report)
    row, against = stage_row(stage, batch), stage_row(train, batch)
    if row is None or against is None:
        return None
    in_benchmark = row["measured_in"] == against["measured_in"] == "benchmark"
    if in_benchmark or (_is_graph(row) and _is_graph(against) and _same_machine(stage, train)):
        return ratio(against["p50_ms"], row["p50_ms"])
    return None


def engine_speedup(report: Report, engine: Mapping[str, Any], batch_size: int) -> float | None:
    """How many times faster than the baseline a benchmarked engine is at this batch size."""
    row = fastest(engine["latency"], batch_size)
    against = fastest(report["baseline"]["latency"], batch_size)
    if row is None or against is None or engine["measured_in"] != "benchmark":
        return None
    return ratio(against["p50_ms"], row["p50_ms"])


def stability(row: Row) -> str:
    """ "stable", "UNSTABLE", or "" of a row that does not say."""
    is_stable = row.get("stable")
    if is_stable is None:
        return ""
    return "stable" if is_stable else "UNSTABLE"


def ratio(over: float | None, under: float | None) -> float | None:
    """`over` / `under`, None where either is unknown or nothing."""
    return over / under if over and under else None


def change_points(
    accuracy: Mapping[str, Any] | None, against: Mapping[str, Any] | None
) -> float | None:
    """Percentage points of top-1 accuracy won (+) or lost (-) on equally many images."""
    if not accuracy or not against or accuracy["top1"] is None or against["top1"] is None:
        return None
    if accuracy["samples"] is None or accuracy["samples"] != against["samples"]:
        return None
    points: float = (accuracy["top1"] - against["top1"]) * 100
    return points


def stage_change(report: Report, stage: Mapping[str, Any]) -> float | None:
    """`change_points` of a stage against `train`."""
    train = stage_named(report, "train")
    if train is None or train is stage or stage["outdated"]:
        return None
    return change_points(stage["accuracy"], train["accuracy"])


def engine_change(report: Report, engine: Mapping[str, Any]) -> float | None:
    """`change_points` of a benchmarked engine against `train`, else against the baseline."""
    if engine["measured_in"] != "benchmark":
        return None
    train, benchmark = stage_named(report, "train"), stage_named(report, "benchmark")
    if train and benchmark and not benchmark["outdated"]:
        return change_points(engine["accuracy"], train["accuracy"])
    return change_points(engine["accuracy"], report["baseline"]["accuracy"])


def _is_graph(row: Row) -> bool:
    return bool(row["runtime"] == "tf.function")


def _same_machine(stage: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(
        stage["environment"].get(part) == other["environment"].get(part)
        for part in ("machine", "cpu", "gpu")
    )
