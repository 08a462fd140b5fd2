"""Bundles of networks with several inputs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from children import call
from numpy.typing import NDArray
from onnx import TensorProto, helper

import pipeline
from pipeline.bundle import arrays, contents, triton
from pipeline.bundle.export import Export, export
from pipeline.core.plan import PLAN
from stages.artifacts.signature import Input, Signature
from stages.engines.registry import EngineName
from stages.errors import ArtifactError, DataError
from stages.numerics import fields
from stages.results.engines import BuildResult, EngineResult
from tests import own_program
from tests.built_artifact import adopt
from tests.stages.inputs import TABLES, tables, tables_logits
from tests.test_readme import blocks

DATA = TABLES.noise(5)
RIGHT, LEFT = DATA["right"], DATA["left"]
EXPECTED = tables_logits(DATA)


def exported(
    root: Path, graph: onnx.ModelProto, signature: Signature, samples: NDArray[np.void]
) -> Path:
    """The bundle of an engine of ONNX Runtime."""
    made, file = root / "made", "onnxruntime.fp32.onnx"
    made.mkdir()
    onnx.save(graph, made / file)
    signature.write(made)
    np.savez(made / "samples.npz", images=samples)
    engine = EngineResult(backend="onnxruntime", precision="fp32", file=file)
    adopt(root / "artifacts", made, BuildResult(engines=(engine,)))
    export(Export(root / "engine", "onnxruntime.fp32"), root / "artifacts", PLAN)
    return root / "engine"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    return exported(tmp_path_factory.mktemp("tables"), tables(), TABLES, DATA)


def test_it_lists_its_inputs_and_no_reader_of_one_takes_it(bundle: Path) -> None:
    found = contents.read(bundle)
    assert found.bundle_version == 5
    assert (found.input, [each.name for each in found.inputs]) == (None, ["right", "left"])
    assert found.signature == replace(TABLES, output_shape=(3,))
    assert {path.name for path in bundle.iterdir()} == {
        *("bundle.json", "onnxruntime.fp32.onnx", "labels.txt", "requirements.txt", "report.md"),
        *("samples", "expected.npy", "predict.py"),
    }
    np.testing.assert_allclose(np.load(bundle / "expected.npy"), EXPECTED[:4], atol=1e-5)


def test_a_bundle_with_one_input_beside_several_is_damaged(bundle: Path) -> None:
    raw = json.loads(contents.read(bundle).model_dump_json())
    for one, several in ((raw["inputs"][0], raw["inputs"]), (None, [])):
        with pytest.raises(ValueError, match="either one input or several"):
            contents.Bundle.model_validate({**raw, "input": one, "inputs": several})


@pytest.mark.parametrize(
    "given",
    [
        {"left": LEFT, "right": RIGHT},
        DATA,
        [{"right": r, "left": x.astype(np.float64)} for r, x in zip(RIGHT, LEFT, strict=True)],
        [np.asarray(each) for each in DATA],
    ],
    ids=["arrays by name", "one array with fields", "a dictionary for each", "rows"],
)
def test_inputs_are_taken_by_their_names(bundle: Path, given: Any) -> None:
    with pipeline.load(bundle) as engine:
        assert engine.kind == "samples"
        np.testing.assert_allclose(engine.predict(given).outputs, EXPECTED, atol=1e-5)
        one = engine.predict({"left": LEFT[3], "right": RIGHT[3]})
    np.testing.assert_allclose(one.outputs, EXPECTED[3:4], atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (RIGHT, "got an array without a name, expected an array for each input: 'right', 'left'"),
        ({"right": RIGHT}, "got 'right', expected an array for each input: 'right', 'left'"),
        ({"right": RIGHT, "left": LEFT, "up": LEFT}, "got 'right', 'left', 'up', expected"),
        ({"right": RIGHT, "left": LEFT[:2]}, "got 5 of 'right', 2 of 'left', expected as many"),
        ({"right": RIGHT, "left": LEFT[:, :3]}, r"input 'left': the vectors have the shape \(5, 3"),
        ({"right": RIGHT, "left": LEFT + np.nan}, "input 'left': .*5 of 5 vectors hold NaN"),
        ([{"right": RIGHT, "left": LEFT}], "an array of 5 samples, expected one"),
        ("photo.png", r"takes right float32 \(4,\), left float32 \(4,\), which no image file"),
    ],
)
def test_other_arrays_are_refused(bundle: Path, given: Any, message: str) -> None:
    with pipeline.load(bundle) as engine, pytest.raises(DataError, match=message):
        engine.predict(given)


def test_the_command_reads_files_with_an_array_for_each_input(bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "many.npz", left=LEFT, right=RIGHT, y_test=np.arange(5))
    np.savez(tmp_path / "one.npz", left=LEFT[2], right=RIGHT[2])
    np.savez(tmp_path / "wrong.npz", left=LEFT)
    np.savez(tmp_path / "uneven.npz", left=LEFT, right=RIGHT[:2])
    np.save(tmp_path / "array.npy", LEFT)
    split = {"x_test/left": LEFT[:1], "x_test/right": RIGHT[:1], "y_test/a": np.arange(1)}
    np.savez(tmp_path / "set.npz", **split)
    done = call("predict", str(bundle), str(tmp_path), "--format", "json", "--top", "1")
    assert done.exit_code == 1
    wanted = "expected an array for each input: 'right', 'left'"
    assert f"wrong.npz: got 'left', {wanted}" in done.stderr
    assert f"array.npy: got an array without a name, {wanted}" in done.stderr
    assert "uneven.npz: got 2 of 'right', 5 of 'left', expected as many" in done.stderr
    names = [*(f"many.npz[{index}]" for index in range(5)), "one.npz", "set.npz:x_test[0]"]
    best = ["abc"[index] for index in EXPECTED.argmax(axis=1)]
    said = {each["image"]: each["top"][0]["class"] for each in json.loads(done.stdout)}
    expected = dict(zip(names, [*best, best[2], best[0]], strict=True))
    assert said == {f"{tmp_path}/{name}": label for name, label in expected.items()}
    assert "7 samples in" in done.stderr


def test_the_program_of_the_bundle_reads_the_same_files(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (bundle / "predict.py").read_text()
    assert not re.search(r"\b(pipeline|stages)\.|PIL", text)
    np.savez(tmp_path / "many.npz", left=LEFT.astype(np.float64), right=RIGHT, y=np.arange(5))
    np.savez(tmp_path / "one.npz", left=LEFT[2], right=RIGHT[2])
    np.savez(tmp_path / "set.npz", **{"x_test/left": LEFT[:1], "x_test/right": RIGHT[:1]})
    np.save(tmp_path / "fields.npy", DATA)
    for name, places in {"many": range(5), "one": [2], "set": [0], "fields": range(5)}.items():
        (file,) = tmp_path.glob(f"{name}.np*")
        rows = own_program.says_the_same(bundle, file, tmp_path / name)
        assert [row["class_1"] for row in rows] == ["abc"[EXPECTED[i].argmax()] for i in places]
    own_program.run(bundle, "--check")
    assert "4 of 4 samples have the class expected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"left": LEFT}, "holds 'left', expected an array for each input: 'right', 'left'"),
        ({"left": LEFT, "right": RIGHT, "up": LEFT}, "holds 'left', 'right', 'up', expected an"),
        ({"left": LEFT, "right": RIGHT[:2]}, "holds 2 of 'right', 5 of 'left', expected as many"),
        ({"left": LEFT[:, :3], "right": RIGHT}, r"holds float32 \(5, 3\) of 'left', expected flo"),
        ({"left": LEFT.astype("u1"), "right": RIGHT}, r"holds uint8 \(5, 4\) of 'left', expected"),
        ({"left": LEFT[:0], "right": RIGHT[:0]}, r"holds float32 \(0, 4\) of 'right', expected"),
        ({"left": LEFT + np.nan, "right": RIGHT}, r"\[0\]: the values of 'left' are not finite"),
        (LEFT, "holds an array without a name, expected an array for each input"),
        ({"x_test": DATA}, "holds 'x_test', expected an array for each input: 'right', 'left'"),
        ({"y": LEFT}, "holds no array, or only labels"),
        (b"PK", "cannot be read: "),
        (None, r"a\.png is no \.npz file, expected an array for each input: 'right', 'left'"),
    ],
    ids=[
        "missing",
        "unknown",
        "counts",
        "shape",
        "type",
        "none",
        "NaN",
        "one",
        "fields",
        "labels",
        "damaged",
        "image",
    ],
)
def test_the_program_refuses_what_the_command_refuses(
    bundle: Path, tmp_path: Path, given: Any, message: str
) -> None:
    file = tmp_path / ("a.png" if given is None else "a.npz")
    with file.open("wb") as stream:
        if isinstance(given, dict):
            np.savez(stream, **given)
        elif isinstance(given, bytes):
            stream.write(given)
        elif given is not None:
            np.save(stream, given)
    assert call("predict", str(bundle), str(file)).exit_code == 1
    with pytest.raises(SystemExit, match=message) as caught:
        own_program.run(bundle, "--to", tmp_path / "new", file)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_the_samples_of_the_bundle_can_be_predicted(bundle: Path) -> None:
    with pipeline.load(bundle) as engine:
        said = engine.predict(sorted((bundle / contents.SAMPLES).iterdir()))
    np.testing.assert_allclose(said.outputs, EXPECTED[:4], atol=1e-5)


def test_an_input_may_be_called_as_labels_are(bundle: Path, tmp_path: Path) -> None:
    wanted = contents.read(bundle).inputs
    wanted = (wanted[0].model_copy(update={"name": "yaw"}), wanted[1])
    np.savez(tmp_path / "a.npz", yaw=RIGHT, left=LEFT, y=np.arange(5))
    ((_, found),) = arrays.samples_in(tmp_path / "a.npz", wanted)
    assert fields.names(arrays.data_of(found, wanted)) == ("yaw", "left")


def test_inputs_may_be_called_as_parameters_of_numpy_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called = {"right": "file", "left": "allow_pickle"}
    graph = tables()
    for each in graph.graph.input:
        each.name = called[each.name]
    for node in graph.graph.node:
        node.input[:] = [called.get(name, name) for name in node.input]
    inputs = tuple(replace(each, name=called[each.name]) for each in TABLES.inputs)
    data = fields.joined({called[name]: DATA[name] for name in called})
    bundle = exported(tmp_path, graph, replace(TABLES, inputs=inputs), data)
    with np.load(bundle / contents.SAMPLES / "2.npz") as sample:
        np.testing.assert_array_equal(sample["file"], RIGHT[2])
        np.testing.assert_array_equal(sample["allow_pickle"], LEFT[2])
    own_program.run(bundle, "--check")
    assert "4 of 4 samples have the class expected" in capsys.readouterr().out


def test_triton_is_told_every_input(bundle: Path) -> None:
    lines = list(triton.config(contents.read(bundle), (1, 8), b""))
    inputs = [lines[at : at + 5] for at, line in enumerate(lines) if line == "input {"]
    expected = ["input {", "  data_type: TYPE_FP32", "  dims: [4]", "}"]
    assert [[*each[:1], *each[2:]] for each in inputs] == [expected, expected]
    assert [each[1] for each in inputs] == ['  name: "right"', '  name: "left"']
    for backend in ("onnxruntime", "openvino", "litert", "tensorrt"):
        triton.check(EngineName(backend, "int8"), TABLES, is_stripped=False)


def test_a_later_bundle_is_refused_with_its_version(bundle: Path, tmp_path: Path) -> None:
    later = contents.read(bundle).model_dump(mode="json") | {"bundle_version": 6}
    (tmp_path / contents.FILE).write_bytes(contents.seal(json.dumps(later)))
    with pytest.raises(ArtifactError, match="it has version 6, expected one of: 1, 2, 3, 4, 5"):
        contents.read(tmp_path)


def test_scaling_is_of_each_input_by_itself(bundle: Path) -> None:
    found = contents.read(bundle)
    changed = found.inputs[1].model_copy(update={"scale": 0.5, "offset": 1.0})
    scaled = found.model_copy(update={"inputs": (found.inputs[0], changed)})
    right, left = scaled.signature.inputs
    assert (right, left) == (TABLES.inputs[0], replace(TABLES.inputs[1], scale=0.5, offset=1.0))
    np.testing.assert_allclose(scaled.signature.feed(DATA)[1], LEFT / 2 + 1, rtol=1e-6)


def test_the_program_of_the_documentation_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = Input("picture", (16, 16, 1), 1 / 255, 0.0, "NHWC", "uint8", "uint8")
    table = Input("table", (4,), 1.0, 0.0, "NC", "float32", "float32")
    nodes = [
        helper.make_node("Cast", ["picture"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["mean", "table"], ["logits"]),
    ]
    kinds = (TensorProto.UINT8, TensorProto.FLOAT)
    taken = [
        helper.make_tensor_value_info(each.name, kind, ["N", *each.input_shape])
        for each, kind in zip((picture, table), kinds, strict=True)
    ]
    given = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])]
    graph = helper.make_model(
        helper.make_graph(nodes, "two", taken, given),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    signature = replace(TABLES, class_names=tuple("abcd"), inputs=(picture, table))
    exported(tmp_path, graph, signature, signature.noise(5))
    (program,) = (each for each in blocks("python") if "predict({" in each)
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    names, labels = capsys.readouterr().out.splitlines()
    assert names == "['picture', 'table'] None"
    assert labels == str(["a"] * 10)
