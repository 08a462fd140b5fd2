from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stages import build
from stages.artifacts.signature import Signature
from stages.engines import child, modules, records, registry
from stages.engines.base import BuildRequest
from stages.engines.registry import EngineName
from stages.errors import EngineError
from stages.measurement import parity
from stages.results.base import ModelFacts
from stages.results.engines import BuildResult, EngineResult
from stages.settings import Build, BuildStage, TensorRT
from tests.stages.graphs import SIGNATURE, VALIDATION_SAMPLES

ROOT = Path(__file__).parents[2]
CPU = ("onnxruntime", "litert")


BESIDE = ("dot", "json", "layers.txt")
"""What an engine of TensorRT-RTX has beside it."""


def settings(**options: Any) -> BuildStage:
    return BuildStage(build=Build(**{"max_seconds_per_engine": 0.02, **options}))


@pytest.fixture(scope="module")
def built(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BuildResult]:
    """All engines, with the default settings."""
    out = tmp_path_factory.mktemp("build")
    return out, build.run(settings(), {"convert": converted}, out)


@pytest.fixture
def damaged(converted: Path, tmp_path: Path) -> Path:
    """A convert folder without the file for LiteRT and with a broken INT8 graph."""
    folder = tmp_path / "convert"
    shutil.copytree(converted, folder)
    (folder / "model.int8.tflite").unlink()
    (folder / "model.int8.cpu.onnx").write_bytes(b"no graph")
    return folder


def by_name(measured: BuildResult) -> dict[str, EngineResult]:
    return {str(each.name): each for each in measured.engines}


def test_every_backend_is_listed_in_every_precision_that_it_has(
    built: tuple[Path, BuildResult],
) -> None:
    wanted, rows = settings().build.precisions, registry.ENGINES.items()
    names = {f"{name}.{each}" for name, row in rows for each in row.precisions if each in wanted}
    assert set(by_name(built[1])) == names


def test_every_engine_says_what_became_of_it(built: tuple[Path, BuildResult]) -> None:
    out, measured = built
    for name, row in by_name(measured).items():
        module = modules.load(row.backend)
        if module.build_blocker():
            assert (row.state, row.file) == ("unavailable", None)
        elif module.run_blocker():
            assert row.state == "built_not_run"
        else:
            assert (row.state, row.reason, row.fix) == ("ran", None, None)
        if row.file:
            assert (out / row.file).stat().st_size > 0
            assert row.file == name + registry.ENGINES[row.backend].suffix
        if row.state != "ran":
            assert row.reason
            assert row.fix
            assert (row.accuracy, row.latency) == (None, ())


def test_engines_that_ran_have_their_own_accuracy_and_a_short_latency(
    built: tuple[Path, BuildResult],
) -> None:
    for name in ("onnxruntime.fp32", "onnxruntime.int8", "litert.int8", "openvino.int8"):
        row = by_name(built[1])[name]
        assert row.accuracy is not None
        assert row.accuracy.samples == 64
        assert row.accuracy.top1 >= (1.0 if name.endswith("fp32") else 0.9)
        (latency,) = row.latency
        assert latency.batch_size == latency.threads == 1
        assert (latency.runtime, latency.precision) == (row.backend, row.precision)
        assert latency.p50_ms > 0


def test_the_folder_has_all_that_the_benchmark_needs(
    converted: Path, built: tuple[Path, BuildResult]
) -> None:
    out, measured = built
    files = {row.file for row in measured.engines if row.file}
    others = {"baseline.onnxruntime.fp32.onnx", "engines.json", "choice.json", "layers.json"}
    others |= {"samples.npz", "signature.json", "test_images.npy", "test_labels.npy"}
    others |= {f"{file}.{kind}" for file in files if file.endswith(".rtx") for kind in BESIDE}
    assert {file.name for file in out.iterdir()} == files | others
    assert Signature.read(out) == SIGNATURE
    assert (out / "samples.npz").read_bytes() == (converted / "samples.npz").read_bytes()
    assert onnx.load(out / records.BASELINE).graph.node


def test_the_same_graph_gives_the_same_engine_file(
    converted: Path, built: tuple[Path, BuildResult]
) -> None:
    sources = [converted / name for name in ("baseline.fp32.onnx", "model.fp32.onnx")]
    engines = [built[0] / name for name in (records.BASELINE, "onnxruntime.fp32.onnx")]
    for one, other in (sources, engines):
        assert one.read_bytes() == other.read_bytes()


def test_the_model_of_the_stage_is_the_engine_chosen_on_validation_images(
    built: tuple[Path, BuildResult],
) -> None:
    measured = built[1]
    found = measured.details.choice
    assert found is not None
    assert found.validation_samples == VALIDATION_SAMPLES
    best = by_name(measured)[found.chosen[1].engine]
    assert measured.model == ModelFacts(file=best.file)
    assert measured.latency == best.latency


def test_the_stage_claims_no_accuracy_for_it_is_that_of_a_few_samples(
    built: tuple[Path, BuildResult],
) -> None:
    assert built[1].accuracy is None


def test_where_only_one_engine_is_wanted_it_is_that_one(converted: Path, tmp_path: Path) -> None:
    only_float = settings(backends=("onnxruntime",), precisions=("fp32",))
    measured = build.run(only_float, {"convert": converted}, tmp_path)
    assert measured.model.file == "onnxruntime.fp32.onnx"


def test_requested_and_executed_precision_are_recorded_layer_by_layer(
    built: tuple[Path, BuildResult],
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    out, measured = built
    found = json.loads((out / "layers.json").read_text())
    assert found == json.loads(measured.model_dump_json())["details"]["layers"]
    asked = [layer for layer in found["tensorrt_rtx.int8"] if layer["requested"]]
    assert {layer["requested"] for layer in asked} == {"int8"}
    assert {layer["executed"] for layer in asked} == {"int8"}
    assert "tensorrt_rtx.int8" not in measured.details.precision_mismatches


def test_a_matrix_product_that_stays_float_is_named(built: tuple[Path, BuildResult]) -> None:
    """Without a Quantize behind it, ONNX Runtime has no integer kernel for a Gemm."""
    (found,) = built[1].details.precision_mismatches["onnxruntime.int8"]
    assert found.node.startswith("gemm")
    assert (found.requested, found.executed) == ("int8", "fp32")


def test_a_layer_wider_than_asked_is_said_in_the_record_and_in_the_progress(
    converted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    caplog.set_level(logging.INFO, logger="stages")
    wanted = Build(backends=("tensorrt_rtx",), precisions=("int8",))
    turing = TensorRT(compute_capabilities=("7.5",))
    stage = BuildStage(build=wanted, tensorrt=turing)
    measured = build.run(stage, {"convert": converted}, tmp_path)
    (found,) = measured.details.precision_mismatches["tensorrt_rtx.int8"]
    assert (found.node, found.executed) == ("conv_5", "fp16")
    said = "tensorrt_rtx.int8: not in the precision that was requested: conv_5"
    assert said in caplog.messages


def test_a_search_for_what_is_off_that_fails_costs_nothing_but_a_line(
    converted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """TensorRT-RTX builds the parts, and cannot run them where there is no GPU."""
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    caplog.set_level(logging.INFO, logger="stages")
    images = np.zeros((4, *SIGNATURE.input_shape), np.uint8)
    logits = np.ones((4, 4), np.float32)
    wrong = EngineResult(
        backend="tensorrt_rtx",
        precision="fp32",
        parity=parity.check_float("tensorrt_rtx.fp32", logits, -logits, SIGNATURE),
    )
    for is_wanted in (False, True):
        stage = BuildStage(tensorrt=TensorRT(locate_divergence=is_wanted))
        caplog.clear()
        assert build.locate([wrong], stage, converted, SIGNATURE, images) == {}
        said = [text for text in caplog.messages if "what is off cannot be told" in text]
        is_said = is_wanted and modules.load("tensorrt_rtx").run_blocker() is not None
        assert bool(said) is is_said, said


def test_the_result_survives_the_way_through_json(built: tuple[Path, BuildResult]) -> None:
    assert BuildResult.model_validate_json(built[1].model_dump_json()) == built[1]


def test_a_failing_engine_does_not_stop_the_others(damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "build"
    out.mkdir()
    measured = build.run(settings(backends=CPU), {"convert": damaged}, out)
    rows = by_name(measured)
    assert rows["onnxruntime.fp32"].state == "ran"
    assert rows["onnxruntime.int8"].state == rows["litert.int8"].state == "unavailable"
    assert "cannot load model.int8.cpu.onnx" in str(rows["onnxruntime.int8"].reason)
    assert rows["litert.int8"].reason == "there is no model.int8.tflite"
    assert rows["litert.int8"].fix == "run: pipeline run convert --force"
    assert not (out / "onnxruntime.int8.onnx").exists()
    assert records.read(out)[-1].reason == rows["litert.int8"].reason


def build_with_a_broken_runtime(source: str, out: str) -> None:
    """In a child, whose `openvino` is the one that its first folder of modules has."""
    request = BuildRequest(SIGNATURE, "fp32")
    try:
        build.build_one(EngineName("openvino", "fp32"), Path(source), Path(out), request)
    except EngineError as error:
        print(error.message, error.hint, sep=" | ")


def test_a_runtime_that_does_not_load_is_an_engine_that_cannot_be_built(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('libtbb.so: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    function = build_with_a_broken_runtime.__name__
    files = (str(converted), str(tmp_path / "engine"))
    assert child.answer("tests.stages.test_build", function, *files) == (
        "openvino is installed but does not load: libtbb.so: cannot open | "
        "pip install --force-reinstall openvino"
    )


def build_without_onnx_runtime(source: str, out: str) -> None:
    """In a child, to which the packages look as if they were not installed."""
    sys.modules.update(dict.fromkeys(("onnx", "onnxruntime")))
    try:
        build.build_baseline(Path(source), Path(out), SIGNATURE)
    except EngineError as error:
        print(error.message, error.hint, sep=" | ")


def test_without_onnx_runtime_there_is_no_baseline_and_the_packages_are_named(
    converted: Path, tmp_path: Path
) -> None:
    function = build_without_onnx_runtime.__name__
    assert child.answer("tests.stages.test_build", function, str(converted), str(tmp_path)) == (
        "the packages onnxruntime, onnx are not installed | pip install onnxruntime onnx"
    )


def test_no_engine_at_all_is_an_error_with_every_reason(damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "build"
    out.mkdir()
    with pytest.raises(EngineError, match="no engine can be built") as caught:
        build.run(settings(backends=CPU, precisions=("int8",)), {"convert": damaged}, out)
    assert "onnxruntime.int8: ONNX Runtime cannot load" in caught.value.message
    assert "litert.int8: there is no model.int8.tflite" in caught.value.message
    assert caught.value.hint == "run: pipeline doctor"


def test_an_engine_whose_outputs_are_not_finite_is_built_but_not_run(
    converted: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "convert", tmp_path / "build"
    shutil.copytree(converted, folder)
    out.mkdir()
    model = onnx.load(folder / "model.fp32.onnx")
    bias = next(each for each in model.graph.initializer if list(each.dims) == [4])
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, np.nan, np.float32), bias.name))
    onnx.save(model, folder / "model.fp32.onnx")
    rows = by_name(build.run(settings(backends=CPU), {"convert": folder}, out))
    assert rows["onnxruntime.fp32"].state == "built_not_run"
    assert "not finite" in str(rows["onnxruntime.fp32"].reason)
    assert rows["litert.int8"].state == "ran"


def test_engines_ahead_of_time_alone_leave_accuracy_and_latency_open(
    converted: Path, tmp_path: Path
) -> None:
    module = modules.load("tensorrt_rtx")
    if module.build_blocker() or not module.run_blocker():
        pytest.skip("needs tensorrt-rtx, and no GPU")
    ahead = settings(backends=("tensorrt_rtx",), precisions=("fp16",))
    measured = build.run(ahead, {"convert": converted}, tmp_path)
    assert measured.model.file == "tensorrt_rtx.fp16.rtx"
    assert (measured.accuracy, measured.latency) == (None, ())


@pytest.mark.parametrize("stage", ["stages.build", "stages.benchmark"])
def test_tensorflow_is_not_imported(stage: str) -> None:
    code = (
        f"import sys, {stage}; found = {{'tensorflow', 'keras', 'tf_keras'}} & set(sys.modules); "
        "sys.exit(', '.join(found) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
