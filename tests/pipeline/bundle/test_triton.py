from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import pipeline
from benchmarks import serving
from pipeline.bundle import contents, triton
from pipeline.bundle.contents import Bundle
from pipeline.bundle.export import Export, export
from pipeline.bundle.programs.onnxruntime import Network
from pipeline.cli import pipeline as command_line
from pipeline.core.plan import PLAN
from stages.artifacts.signature import Head
from stages.artifacts.signature import Input as SignatureInput
from stages.conversion.litert import write_float
from stages.engines import openvino
from stages.engines.registry import ENGINES, EngineName
from stages.errors import SettingsError
from stages.numerics import fields
from stages.results.engines import BuildResult, EngineResult
from tests import converted_artifact
from tests.built_artifact import adopt
from tests.stages.graphs import SIGNATURE, images

CLIENTS = 4


def parsed(text: str) -> Any:
    """config.pbtxt by Triton's own schema."""
    schema = pytest.importorskip(
        "tritonclient.grpc.model_config_pb2", reason="tritonclient is not installed: make triton"
    )
    from google.protobuf import text_format

    return text_format.Parse(text, schema.ModelConfig())


def config(bundle: Bundle, sizes: tuple[int, ...] = (1, 32), engine: bytes = b"") -> str:
    return "\n".join(triton.config(bundle, sizes, engine))


def changed(bundle: Bundle, part: str, **update: Any) -> Bundle:
    new = getattr(bundle, part).model_copy(update=update)
    return bundle.model_copy(update={part: new})


@pytest.fixture(scope="module")
def models(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the INT8 engine of OpenVINO; not to be written to."""
    to: Path = tmp_path_factory.mktemp("openvino") / "models"
    export(Export(to, "openvino.int8", format="triton"), built, PLAN)
    return to


@pytest.fixture(scope="module")
def info(models: Path) -> Bundle:
    return contents.read(models / "small" / "1")


def test_the_version_folder_is_a_bundle_with_a_program_for_triton(models: Path) -> None:
    assert [path.name for path in models.iterdir()] == ["small"]
    assert {path.name for path in (models / "small").iterdir()} == {
        "1",
        "config.pbtxt",
        "labels.txt",
    }
    with pipeline.load(models / "small" / "1") as engine:
        assert "model.py" in engine.info.files
        assert engine.info.engine.name == EngineName("openvino", "int8")
    assert (models / "small" / "labels.txt").read_text().split() == list(SIGNATURE.class_names)


def test_the_same_build_gives_the_same_repository(
    models: Path, built: Path, tmp_path: Path
) -> None:
    export(Export(tmp_path / "again", "openvino.int8", format="triton"), built, PLAN)
    for file in (path for path in models.rglob("*") if path.is_file()):
        assert (tmp_path / "again" / file.relative_to(models)).read_bytes() == file.read_bytes()


def test_an_engine_of_the_python_backend_is_described_as_triton_wants_it(models: Path) -> None:
    found = parsed((models / "small" / "config.pbtxt").read_text())
    assert (found.backend, found.platform, found.default_model_filename) == (
        "python",
        "",
        "model.py",
    )
    (source,), (target,) = found.input, found.output
    assert (source.name, list(source.dims)) == ("image", [8, 8, 1])
    assert triton.TYPES["float32"] in str(source)
    assert (target.name, list(target.dims), target.label_filename) == ("logits", [4], "labels.txt")
    assert found.max_batch_size == 32
    assert list(found.dynamic_batching.preferred_batch_size) == [32]
    (group,) = found.instance_group
    assert (group.kind, group.count) == (group.KIND_CPU, max(1, os.cpu_count() or 1))


def test_onnx_runs_in_tritons_own_backend_with_the_threads_it_was_chosen_with(
    built: Path, tmp_path: Path
) -> None:
    export(Export(tmp_path / "models", "onnxruntime.fp32", format="triton"), built, PLAN)
    model = tmp_path / "models" / "small"
    found = parsed((model / "config.pbtxt").read_text())
    assert found.platform == "onnxruntime_onnx"
    assert (model / "1" / found.default_model_filename).is_file()
    assert not (model / "1" / "model.py").exists()
    assert found.parameters["intra_op_thread_count"].string_value == "1"
    assert not found.HasField("optimization")


def test_the_level_of_optimisation_is_a_field_that_triton_knows(info: Bundle) -> None:
    bundle = changed(info, "engine", backend="onnxruntime", file="model.onnx")
    assert parsed(config(bundle, engine=triton.PAD_NODE)).optimization.graph.level == 2


def test_a_tensorrt_plan_runs_in_tritons_own_backend_up_to_the_batch_it_was_built_for(
    info: Bundle,
) -> None:
    plan = changed(info, "engine", backend="tensorrt", file="tensorrt.int8.plan", max_batch_size=16)
    found = parsed(config(changed(plan, "input", dtype="uint8"), (1, 8, 32)))
    assert (found.platform, found.default_model_filename) == ("tensorrt_plan", "tensorrt.int8.plan")
    assert found.max_batch_size == 16
    assert list(found.dynamic_batching.preferred_batch_size) == [8]
    (group,) = found.instance_group
    assert (group.kind, group.count) == (group.KIND_GPU, 1)
    assert list(group.profile) == ["0", "1", "2"]  # up to 1, 8 and 16 images


@pytest.mark.parametrize(("cores", "threads", "instances"), [(8, 2, 4), (7, 2, 3), (2, 4, 1)])
def test_each_instance_has_as_many_cores_as_the_engine_has_threads(
    info: Bundle, cores: int, threads: int, instances: int
) -> None:
    cpu = info.built_on.cpu.model_copy(update={"cores": cores})
    bundle = changed(changed(info, "engine", threads=threads), "built_on", cpu=cpu)
    (group,) = parsed(config(bundle)).instance_group
    assert group.count == instances


def test_an_engine_measured_with_single_images_gathers_none(info: Bundle) -> None:
    found = parsed(config(info, (1,)))
    assert found.max_batch_size == 1
    assert not found.HasField("dynamic_batching")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_of_an_input_survives(name: str) -> None:
    (bundle,) = INFO
    (source,) = parsed(config(changed(bundle, "input", name=name))).input
    assert source.name == name


INFO: list[Bundle] = []


@pytest.fixture(scope="module", autouse=True)
def _shared(info: Bundle) -> Iterator[None]:
    INFO.append(info)
    yield
    INFO.clear()


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("mnist_cnn", "mnist_cnn"),
        ("in/a b.keras", "a_b"),
        ("Größe 1.h5", "Gr_e_1"),
        ("..", "model"),
    ],
)
def test_a_model_has_a_name_that_fits_an_address(info: Bundle, network: str, name: str) -> None:
    assert triton.model_name(info.model_copy(update={"network": network})) == name


def exported(built: Path, to: Path, *options: str) -> Any:
    arguments = ["export", "--to", str(to), "--artifacts", str(built), "--format", "triton"]
    return CliRunner().invoke(command_line, [*arguments, *options])


def test_the_command_says_how_the_model_is_served(built: Path, tmp_path: Path) -> None:
    done = exported(built, tmp_path / "models", "--engine", "openvino.fp32")
    assert done.exit_code == 0, done.output
    assert f"tritonserver --model-repository {tmp_path / 'models'}" in done.output
    assert f"--requirement {tmp_path / 'models/small/1/requirements.txt'}" in done.output


def test_a_path_that_exists_is_refused(built: Path, tmp_path: Path) -> None:
    done = exported(built, tmp_path)
    assert done.exit_code == 2
    assert "exists, and is not overwritten" in done.output


def test_an_engine_without_a_batch_dimension_is_refused() -> None:
    signature = dataclasses.replace(SIGNATURE, batch_size=1)
    with pytest.raises(SettingsError, match=r"takes a batch of 1 and no other") as caught:
        triton.check(EngineName("litert", "int8"), signature, False)
    assert "convert.batch_size=0" in caught.value.hint


def test_a_plan_without_weights_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"plan of tensorrt\.fp16 holds no weights") as caught:
        triton.check(EngineName("tensorrt", "fp16"), SIGNATURE, True)
    assert "weight_stripped=false" in caught.value.hint


def test_an_engine_that_triton_cannot_run_is_refused() -> None:
    with pytest.raises(SettingsError, match="no backend for TensorRT-RTX engines"):
        triton.check(EngineName("tensorrt_rtx", "int8"), SIGNATURE, False)


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Zero padding before a MaxPool, which ONNX Runtime by itself fuses wrongly."""
    file: Path = tmp_path_factory.mktemp("padded") / "model.onnx"
    borders = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "borders")
    nodes = [
        helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Pad", ["x", "borders"], ["y"]),
        helper.make_node("MaxPool", ["y"], ["z"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    values = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, 2, 1])]
    results = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 1, 2, 2])]
    graph = helper.make_graph(nodes, "padded", values, results, [borders])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), file)
    return file


NEGATIVE = np.full((1, 2, 2, 1), -1, np.float32)


def test_padding_stays_zero_in_the_program_of_a_bundle(padded: Path) -> None:
    alone = onnxruntime.InferenceSession(padded, providers=["CPUExecutionProvider"])
    assert (alone.run(None, {"image": NEGATIVE})[0] == -1).all(), "fused rightly now: drop all this"
    (outputs,) = Network(padded, 1, ["image"], ["z"])([NEGATIVE])
    assert (outputs == 0).all()


def test_padding_stays_zero_in_triton(padded: Path, info: Bundle) -> None:
    bundle = changed(info, "engine", backend="onnxruntime", file="model.onnx")
    assert "graph { level: 2 }" in config(bundle, engine=padded.read_bytes())
    level_2 = onnxruntime.SessionOptions()
    level_2.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    opened = onnxruntime.InferenceSession(padded, level_2, providers=["CPUExecutionProvider"])
    assert (opened.run(None, {"image": NEGATIVE})[0] == 0).all()


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a real server with four models, and their repository."""
    if reason := serving.blocker():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("served")
    converted_artifact.write(folder / "artifacts", with_tflite=True)
    converted_artifact.build(folder / "artifacts", "litert")
    repository = folder / "models"
    export(Export(repository, "litert.int8", format="triton"), folder / "artifacts", PLAN)
    (repository / "small").rename(repository / "litert")
    shutil.copytree(models / "small", repository / "openvino")
    for backend in ("litert", "openvino"):
        name = f"several_{backend}"
        several(backend, folder / name).rename(repository / name)
    with serving.server(repository) as address:
        yield address, repository


SEVERAL = dataclasses.replace(
    SIGNATURE,
    input_shape=(),
    inputs=(
        SignatureInput("picture", (8, 8, 1), 1 / 255, 0.0, "NHWC", "uint8", "uint8"),
        SignatureInput("table", (4,), 0.5, 1.0, "NC", "float32", "float32"),
    ),
    task="several",
    output="values",
    class_names=(),
    heads=(
        Head("total", "regression", "values", ("0", "1", "2", "3"), ()),
        Head("map", "raw", "values", (), (8, 8, 4)),
    ),
)
"""The map is the picture times the table, the total the table and the mean of the map."""


def several(backend: str, folder: Path) -> Path:
    """A model of Triton with SEVERAL inputs and outputs."""
    made, file = folder / "made", f"{backend}.fp32{ENGINES[backend].suffix}"
    made.mkdir(parents=True)
    if backend == "litert":
        write_float(made / file, several_in_keras(), SEVERAL)
    else:
        onnx.save(several_in_onnx(), folder / "model.onnx")
        openvino.write(folder / "model.onnx", made / file)
    SEVERAL.write(made)
    np.savez(made / "samples.npz", images=SEVERAL.noise(4))
    engine = EngineResult(backend=backend, precision="fp32", file=file)
    adopt(folder / "artifacts", made, BuildResult(engines=(engine,)))
    export(Export(folder / "to", f"{backend}.fp32", format="triton"), folder / "artifacts", PLAN)
    (model,) = (folder / "to").iterdir()
    return model


def several_in_keras() -> Any:
    import keras
    from keras import layers

    picture, table = keras.Input((8, 8, 1), name="picture"), keras.Input((4,), name="table")
    product = layers.Multiply()([picture, layers.Reshape((1, 1, 4))(table)])
    total = layers.Add()([layers.GlobalAveragePooling2D()(product), table])
    return keras.Model([picture, table], [total, product])


def several_in_onnx() -> onnx.ModelProto:
    places = numpy_helper.from_array(np.array([1, 2], np.int64), "places")
    scale = numpy_helper.from_array(np.float32(1 / 255), "scale")
    nodes = [
        helper.make_node("Cast", ["picture"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Unsqueeze", ["table", "places"], ["wide"]),
        helper.make_node("Mul", ["scaled", "wide"], ["map"]),
        helper.make_node("ReduceMean", ["map"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["mean", "table"], ["total"]),
    ]
    kinds = (TensorProto.UINT8, TensorProto.FLOAT)
    taken = [
        helper.make_tensor_value_info(each.name, kind, ["N", *each.input_shape])
        for each, kind in zip(SEVERAL.inputs, kinds, strict=True)
    ]
    given = [
        helper.make_tensor_value_info(
            each.output_name, TensorProto.FLOAT, ["N", *each.shape_of_output]
        )
        for each in SEVERAL.each
    ]
    graph = helper.make_graph(nodes, "several", taken, given, [places, scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def asked(address: str, name: str, bundle: Bundle, seed: int) -> list[tuple[Any, np.ndarray]]:
    """Inputs and answers of one client, which sends batches of all sizes, and one with NaN."""
    from tritonclient.utils import InferenceServerException

    signature = bundle.signature
    remote = serving.Remote(address, name, bundle)
    try:
        *others, last = signature.by_name(signature.feed(signature.noise(2))).values()
        broken = [*others, np.full_like(last, np.nan)]
        with pytest.raises(InferenceServerException, match="NaN or infinity"):
            remote.infer(broken if others else broken[0])
        samples = signature.noise(40)[seed:]
        inputs = [signature.feed(samples[:size]) for size in (1, 3, 8, 2, 1, 5)]
        return [(batch, remote.infer(batch)) for batch in inputs]
    finally:
        remote.close()


@pytest.mark.parametrize("name", ["litert", "openvino", "several_litert", "several_openvino"])
def test_several_clients_of_a_real_server_get_what_the_engine_gives(
    served: tuple[str, Path], name: str
) -> None:
    address, repository = served
    with pipeline.load(repository / name / "1") as engine:
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [
                pool.submit(asked, address, name, engine.info, seed) for seed in range(CLIENTS)
            ]
        answers = [pair for client in clients for pair in client.result()]
        assert len(answers) == 6 * CLIENTS
        answers.sort(key=lambda pair: len(pair[1]))  # OpenVINO compiles for every other size
        for batch, outputs in answers:
            expected = engine._engine.infer(batch)
            for found, wanted in zip(fields.parts(outputs), fields.parts(expected), strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["litert", "openvino"])
def test_each_input_and_output_of_a_real_server_is_that_of_its_name(
    served: tuple[str, Path], backend: str
) -> None:
    from tritonclient import http
    from tritonclient.utils import InferenceServerException

    address, repository = served
    model = f"several_{backend}"
    remote = serving.Remote(address, model, contents.read(repository / model / "1"))
    picture, table = SEVERAL.feed(SEVERAL.noise(3))
    found = remote.infer([picture, table])
    product = picture / np.float32(255) * table[:, None, None]
    np.testing.assert_allclose(found["map"], product, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["total"], product.mean(axis=(1, 2)) + table, rtol=1e-4)
    with http.InferenceServerClient(address) as client:
        kinds = {"picture": "UINT8", "table": "FP32"}
        given = [
            http.InferInput(name, list(each.shape), kinds[name]).set_data_from_numpy(each)
            for name, each in (("table", table), ("picture", picture))
        ]
        wanted = http.InferRequestedOutput("map")
        alone = client.infer(model, given, outputs=[wanted])
    assert alone.as_numpy("total") is None
    np.testing.assert_array_equal(alone.as_numpy("map"), found["map"])
    for batch in ([picture, table[:2]], [picture, table[:, :3]], [table, picture]):
        with pytest.raises(InferenceServerException):
            remote.infer(batch)
    remote.close()


def test_a_server_refuses_too_many_images_and_none(
    served: tuple[str, Path],
) -> None:
    from tritonclient.utils import InferenceServerException

    address, repository = served
    remote = serving.Remote(address, "litert", contents.read(repository / "litert" / "1"))
    good = SIGNATURE.preprocess(images(2))
    with pytest.raises(InferenceServerException, match="batch-size must be <= 32"):
        remote.infer(SIGNATURE.preprocess(images(33)))
    with pytest.raises(InferenceServerException):
        remote.infer(good[:0])
    assert remote.infer(good).shape == (2, 4)
    remote.close()


def test_a_server_names_the_classes(served: tuple[str, Path]) -> None:
    from tritonclient import http

    address, repository = served
    batch = SIGNATURE.preprocess(images(1))
    with pipeline.load(repository / "litert" / "1") as engine:
        expected = engine.predict(images(1)).labels
    given = http.InferInput("image", list(batch.shape), "FP32").set_data_from_numpy(batch)
    with http.InferenceServerClient(address) as client:
        wanted = http.InferRequestedOutput("logits", class_count=1)
        best = client.infer("litert", [given], outputs=[wanted]).as_numpy("logits")
    assert [text.decode().split(":")[2] for text in best.ravel()] == expected


@pytest.mark.parametrize("is_remote", [False, True])
def test_the_benchmark_times_several_clients_and_compares_every_answer(
    served: tuple[str, Path], is_remote: bool
) -> None:
    address, repository = served
    version = repository / "openvino" / "1"
    load = serving.Load(version, address if is_remote else None, images=3, seconds=0.1)
    milliseconds, wrong = serving.measure(load, clients=2)
    assert len(milliseconds) >= 2
    assert wrong == 0
