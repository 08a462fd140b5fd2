from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import benchmark, build
from stages.datasets import carried
from stages.engines import records
from stages.errors import ArtifactError, EngineError
from stages.measurement import choice, clock, kept_answers, memory, throughput
from stages.results.engines import (
    BenchmarkResult,
    EngineResult,
    EngineTimings,
)
from stages.settings import Benchmark, BenchmarkStage, Build, BuildStage, Data
from tests.stages.graphs import CARRIED, SIGNATURE, images, reference

TEST_SAMPLES = 45
BACKENDS = ("onnxruntime", "litert", "openvino", "tensorrt_rtx")
BUILD = Build(backends=BACKENDS, precisions=("fp32", "int8"), max_seconds_per_engine=0.02)


@pytest.fixture(scope="module")
def built(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build stage leaves."""
    out: Path = tmp_path_factory.mktemp("build")
    build.run(BuildStage(build=BUILD), {"convert": converted}, out)
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """A data set whose test labels are the float32 graph's answers, every ninth one wrong."""
    pixels = images(TEST_SAMPLES, seed=3)
    labels = np.argmax(reference("fp32", SIGNATURE.preprocess(pixels)), axis=1)
    labels[::9] = (labels[::9] + 1) % 4
    file = tmp_path_factory.mktemp("data") / "set.npz"
    classes = np.arange(4)
    np.savez(file, x_train=images(4), y_train=classes, x_test=pixels, y_test=labels)
    return Data(name="npz", path=str(file))


def stage(data: Data | None, **options: Any) -> BenchmarkStage:
    quick = {"warmup_seconds": 0.001, "max_seconds_per_engine": 0.01, **options}
    return BenchmarkStage(data=data, benchmark=Benchmark(**quick))


@pytest.fixture(scope="module")
def measured(
    built: Path, data: Data, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, BenchmarkResult]:
    """Two batch sizes, one and two threads."""
    out = tmp_path_factory.mktemp("benchmark")
    settings = stage(data, batch_sizes=(1, 8), threads=(1, 2))
    return out, benchmark.run(settings, {"build": built}, out)


def ran(measured: tuple[Path, BenchmarkResult]) -> dict[str, EngineResult]:
    return {str(each.name): each for each in measured[1].engines if each.state == "ran"}


def baseline(measured: tuple[Path, BenchmarkResult]) -> EngineTimings:
    found = measured[1].details.baseline
    assert found is not None
    return found


def test_every_engine_of_the_build_is_listed(
    built: Path, measured: tuple[Path, BenchmarkResult]
) -> None:
    listed = [(each.name, each.file) for each in measured[1].engines]
    assert listed == [(each.name, each.file) for each in records.read(built)]
    assert {"onnxruntime.fp32", "openvino.fp32", "litert.int8"} <= set(ran(measured))


def test_every_cpu_engine_that_ran_has_a_peak_with_its_threads(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    details = measured[1].details
    peaks = {(name, peak.threads) for peak in details.peaks for name in peak.engines}
    timed = {(str(each.name), threads) for each in ran(measured).values() for threads in (1, 2)}
    assert peaks >= timed
    fitting = {threads for threads in (1, 2) if threads <= throughput.usable_cores()}
    assert {each.threads for each in details.bandwidths} == fitting


def test_a_peak_that_fails_loses_no_benchmark(
    built: Path,
    data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The kernels' files cannot be written where there is no temporary folder."""
    folder, out = copy(built, tmp_path, "onnxruntime.fp32")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    settings = stage(data, batch_sizes=(1,), threads=(1,))
    found = benchmark.run(settings, {"build": folder}, out)
    assert any(each.state == "ran" and each.latency for each in found.engines)
    assert found.details.peaks == ()
    assert found.details.bandwidths
    assert any("a peak of this machine is left out: FileNot" in text for text in caplog.messages)


def test_an_engine_that_cannot_run_here_keeps_its_reason(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    for row in measured[1].engines:
        if row.state != "ran":
            assert row.reason
            assert (row.accuracy, row.latency, row.load_ms) == (None, (), None)


def test_accuracy_is_that_of_the_whole_test_split(measured: tuple[Path, BenchmarkResult]) -> None:
    exact = ran(measured)["onnxruntime.fp32"].accuracy
    assert exact is not None
    assert exact.samples == TEST_SAMPLES
    assert exact.top1 == pytest.approx(40 / 45)
    assert baseline(measured).accuracy == exact
    assert measured[1].details.images == "test"


def test_without_a_data_set_accuracy_is_that_on_what_convert_carried(
    built: Path, tmp_path: Path
) -> None:
    folder, out = copy(built, tmp_path, "litert.int8")
    found = benchmark.run(stage(None, batch_sizes=(1,)), {"build": folder}, out)
    exact = found.details.baseline
    assert exact is not None
    assert (exact.accuracy.samples, exact.accuracy.top1) == (CARRIED, 1.0)
    assert found.details.images == "carried"
    with np.load(out / benchmark.PREDICTIONS_FILE) as kept:
        assert np.array_equal(kept["labels"], carried.read(built).labels)


def test_an_earlier_build_that_carries_nothing_says_where_to_make_it_again(
    built: Path, tmp_path: Path
) -> None:
    folder, out = copy(built, tmp_path)
    (folder / carried.IMAGES_FILE).unlink()
    with pytest.raises(ArtifactError, match="carries no test images"):
        benchmark.run(stage(None), {"build": folder}, out)


def test_there_is_a_row_for_every_batch_size_and_thread_count(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    for row in [*ran(measured).values(), baseline(measured)]:
        found = [(each.threads, each.batch_size) for each in row.latency]
        assert found == [(1, 1), (1, 8), (2, 1), (2, 8)]
        assert row.load_ms > 0
        assert row.first_call_ms > 0


def test_the_raw_samples_are_kept_and_the_rows_are_their_summary(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    out, found = measured
    samples = np.load(out / "latency.npz")
    names = [*ran(measured), "baseline.onnxruntime.fp32"]
    cases = [f"{name}.b{b}.t{t}" for name in names for b in (1, 8) for t in (1, 2)]
    assert sorted(samples.files) == sorted(cases)
    row = ran(measured)["litert.int8"].latency[0]
    raw = samples["litert.int8.b1.t1"]
    assert raw.dtype == np.float32
    assert len(raw) == row.samples
    assert np.median(raw) == pytest.approx(row.p50_ms, rel=1e-5)
    assert found.engines


def test_a_row_says_how_certain_it_is_and_what_the_engine_gives_and_takes(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    for engine in ran(measured).values():
        for row in engine.latency:
            assert row.p50_low_ms <= row.p50_high_ms
            assert len(row.window_p50_ms) >= 1
            assert row.stable in (True, False)
            assert row.saturated_images_per_second > 0
            assert row.saturating_engines >= 1


@pytest.mark.skipif(not memory.STATUS.exists(), reason="this machine has no /proc")
def test_memory_is_that_of_a_process_with_this_engine_alone(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    for engine in ran(measured).values():
        one, many = (row.peak_memory_mib for row in engine.latency[:2])
        assert 0.1 < one <= many < 4000


def test_the_model_of_the_stage_is_the_engine_that_build_chose(
    built: Path,
    measured: tuple[Path, BenchmarkResult],
) -> None:
    best = ran(measured)[choice.read(built)[1].engine]
    assert measured[1].details.fastest == str(best.name)
    assert measured[1].model.file == best.file
    assert (measured[1].accuracy, measured[1].latency) == (best.accuracy, best.latency)


def test_what_was_chosen_with_other_threads_is_timed_with_them_too(
    built: Path, data: Data, tmp_path: Path
) -> None:
    folder, out = copy(built, tmp_path, "onnxruntime.fp32", "onnxruntime.int8", "litert.int8")
    certain = {"stable": True, "within_budget": True}
    chosen = {
        "1": {"engine": "onnxruntime.fp32", "threads": 1, **certain},
        "8": {"engine": "litert.int8", "threads": 3, **certain},
    }
    (folder / choice.FILE).write_text(json.dumps(chosen))
    found = benchmark.run(stage(data, batch_sizes=(1, 8)), {"build": folder}, out)
    rows = {str(each.name): each.latency for each in found.engines}
    rows["baseline"] = baseline((out, found)).latency
    for name, latency in rows.items():
        further = [(row.threads, row.batch_size) for row in latency[2:]]
        assert further == ([(3, 8)] if name in ("litert.int8", "baseline") else [])
    assert "litert.int8.b8.t3" in np.load(out / "latency.npz").files
    assert found.details.fastest == "onnxruntime.fp32"


def test_the_conditions_are_kept_beside_the_numbers(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    conditions = measured[1].details.conditions
    assert conditions is not None
    assert conditions.packages["onnxruntime"]
    assert conditions.windows == (clock.MIN_WINDOWS, clock.MAX_WINDOWS)
    assert conditions.clock_overhead_ms is not None
    assert 0 < conditions.clock_overhead_ms < 0.1
    assert (conditions.warmup_seconds, conditions.seconds) == (0.001, 0.01)


def test_the_result_survives_the_way_through_json(measured: tuple[Path, BenchmarkResult]) -> None:
    assert BenchmarkResult.model_validate_json(measured[1].model_dump_json()) == measured[1]


def test_a_batch_larger_than_the_test_split_repeats_its_images(
    built: Path, data: Data, tmp_path: Path
) -> None:
    folder, out = copy(built, tmp_path, str(choice.read(built)[1].engine))
    found = benchmark.run(stage(data, batch_sizes=(TEST_SAMPLES + 5,)), {"build": folder}, out)
    assert found.latency[0].batch_size == TEST_SAMPLES + 5
    assert found.accuracy.samples == TEST_SAMPLES


def test_an_engine_that_does_not_open_does_not_stop_the_others(
    built: Path, data: Data, tmp_path: Path
) -> None:
    folder, out = copy(built, tmp_path, "litert.int8", "onnxruntime.int8")
    (folder / "litert.int8.tflite").write_bytes(b"broken")
    found = benchmark.run(stage(data), {"build": folder}, out)
    rows = {each.backend: each for each in found.engines if each.precision == "int8"}
    assert rows["litert"].state == "built_not_run"
    assert "cannot load litert.int8.tflite" in str(rows["litert"].reason)
    assert rows["onnxruntime"].state == "ran"


def test_an_engine_of_another_version_is_refused_before_anything_is_timed(
    built: Path, data: Data, tmp_path: Path
) -> None:
    folder, out = copy(built, tmp_path)
    (folder / records.FILE).write_text('[{"backend": "tflite", "precision": "int8"}]')
    with pytest.raises(EngineError, match=r"lists tflite\.int8"):
        benchmark.run(stage(data), {"build": folder}, out)


def test_without_a_baseline_there_is_nothing_to_compare_with(
    built: Path, data: Data, tmp_path: Path
) -> None:
    folder, out = copy(built, tmp_path)
    (folder / records.BASELINE).unlink()
    with pytest.raises(EngineError, match=records.BASELINE):
        benchmark.run(stage(data), {"build": folder}, out)


def copy(built: Path, folder: Path, *engines: str) -> tuple[Path, Path]:
    """A build folder to damage, with some engines or all, and an empty one for the results."""
    (folder / "build").mkdir()
    for file in built.iterdir():
        (folder / "build" / file.name).write_bytes(file.read_bytes())
    if engines:
        kept = [each for each in records.read(built) if str(each.name) in engines]
        records.write(kept, folder / "build")
    (folder / "out").mkdir()
    return folder / "build", folder / "out"


def test_the_classes_of_the_baseline_and_of_every_engine_that_ran_are_described(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    described = measured[1].details.classification
    assert set(described) == {"baseline", *ran(measured)}
    for name, found in ran(measured).items():
        confusion = np.array(described[name].confusion)
        assert np.trace(confusion) / confusion.sum() == found.accuracy.top1


def test_the_images_that_the_chosen_engine_classifies_differently_are_counted_and_kept(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    out, found = measured
    changed = found.details.changed
    assert changed is not None
    assert changed.engine == found.details.fastest
    total = changed.lost + changed.won + changed.other
    assert (out / "changed.npz").exists() == (total > 0)
    before, after = (found.details.classification[name] for name in ("baseline", changed.engine))
    right = [int(np.trace(np.array(each.confusion))) for each in (before, after)]
    assert right[1] - right[0] == changed.won - changed.lost


def test_of_classes_there_is_no_file_of_answers(measured: tuple[Path, BenchmarkResult]) -> None:
    assert not (measured[0] / kept_answers.FILE).exists()


def test_every_engine_is_compared_with_the_trained_model_image_by_image(
    measured: tuple[Path, BenchmarkResult],
) -> None:
    out, found = measured
    with np.load(out / "predictions.npz") as kept:
        predictions = {name: kept[name].astype(int) for name in kept.files}
    labels, before = predictions.pop("labels"), predictions.pop("baseline.onnxruntime.fp32")
    del predictions["images"]
    assert {each.engine for each in found.details.differences} == set(predictions)
    for each in found.details.differences:
        after = predictions[each.engine]
        assert each.lost == np.sum((before == labels) & (after != labels))
        assert each.won == np.sum((before != labels) & (after == labels))
    assert found.details.changed in found.details.differences


def test_the_predictions_of_every_engine_are_kept_for_a_comparison_image_by_image(
    measured: tuple[Path, BenchmarkResult], data: Data
) -> None:
    with np.load(measured[0] / benchmark.PREDICTIONS_FILE) as kept:
        found = {name: kept[name] for name in kept.files}
    test = np.load(str(data.path))
    labels, images = test["y_test"], test["x_test"]
    assert np.array_equal(found.pop("labels"), labels)
    described = str((images.shape, images.dtype)).encode()
    assert found.pop("images").tobytes() == hashlib.sha256(described + images.tobytes()).digest()
    assert set(found) == {"baseline.onnxruntime.fp32", *ran(measured)}
    for name, row in ran(measured).items():
        assert found[name].dtype == np.uint8
        assert np.mean(found[name] == labels) == row.accuracy.top1
