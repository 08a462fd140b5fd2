from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.bundle import contents
from pipeline.bundle.export import Export, export
from pipeline.cli import pipeline as command_line
from pipeline.core.plan import PLAN
from stages.artifacts.signature import Signature
from stages.engines import records
from stages.engines.registry import EngineName, Precision
from stages.errors import ArtifactError, SettingsError
from stages.measurement import parity
from tests import own_program
from tests.conftest import pipeline


def program(bundle: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """predict.py, from a folder in which none of our modules can be found."""
    command = [sys.executable, "-I", str(bundle / "predict.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=bundle.parent, capture_output=True, text=True, check=False)


def test_a_bundle_lists_every_file_in_it_with_its_hash(bundle: Path) -> None:
    found = json.loads((bundle / "bundle.json").read_bytes())["files"]
    files = {path for path in bundle.rglob("*") if path.is_file()} - {bundle / "bundle.json"}
    assert found == {
        path.relative_to(bundle).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    assert {"labels.txt", "predict.py", "requirements.txt", "report.md"} <= set(found)


def test_a_bundle_says_what_the_engine_takes_and_gives(bundle: Path, built: Path) -> None:
    found, signature = contents.read(bundle), Signature.read(built / "build")
    assert found.signature == replace(signature, output_shape=(4,))
    assert (bundle / "labels.txt").read_text().split() == list(signature.class_names)
    assert (found.network, found.data) == ("small", "made")
    assert found.measured is None  # there was no benchmark


def test_without_a_name_the_engine_that_build_chose_is_taken(built: Path, tmp_path: Path) -> None:
    chosen = json.loads((built / "build" / "choice.json").read_text())
    for batch_size, choice in chosen.items():
        done = export(Export(tmp_path / batch_size, None, int(batch_size)), built, PLAN)
        assert str(done.engine.name) == choice["engine"]
        assert done.engine.threads == choice["threads"]


@pytest.mark.parametrize("engine", ["onnxruntime.int8", "openvino.int8", "openvino.fp32"])
def test_the_program_of_a_bundle_runs_alone_and_says_what_the_engine_says(
    built: Path, tmp_path: Path, engine: str
) -> None:
    to = tmp_path / "small"
    export(Export(to, engine), built, PLAN)
    done = program(to, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 samples" in done.stdout
    record = next(each for each in records.read(built / "build") if str(each.name) == engine)
    signature = Signature.read(built / "build")
    images = np.load(built / "build" / "samples.npz")["images"][:4]
    with records.runner(record, built / "build", signature, 1) as runner:
        outputs = np.concatenate([runner.infer(signature.feed(each[None])) for each in images])
    np.testing.assert_allclose(np.load(to / "expected.npy"), outputs, rtol=1e-5)
    said = program(to, *(to / "samples" / f"{index}.png" for index in range(4))).stdout
    best = [line.split(": ")[1].split()[0] for line in said.splitlines()]
    assert best == [signature.class_names[index] for index in outputs.argmax(axis=1)]


def test_the_program_ends_quietly_where_nobody_reads_on(bundle: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-I", str(bundle / "predict.py"), str(bundle / "samples" / "0.png")]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_check_of_another_engine_fails(bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    np.save(other / "expected.npy", -np.load(other / "expected.npy"))
    done = program(other, "--check")
    assert done.returncode == 1
    assert "not the engine that was measured" in done.stderr


@pytest.mark.parametrize("precision", get_args(Precision))
def test_the_check_allows_what_rounding_to_each_precision_explains(
    bundle: Path, tmp_path: Path, precision: Precision, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    found = json.loads((other / contents.FILE).read_text())
    found["engine"]["precision"] = precision
    (other / contents.FILE).write_text(json.dumps(found))
    own_program.run(other, "--check")
    (allowed,) = re.findall(r"allowed are ([\d.]+)%", capsys.readouterr().out)
    assert float(allowed) / 100 >= parity.RELATIVE.get(precision, 0.05)


@pytest.mark.parametrize("backend", ["litert", "tensorrt", "tensorrt_rtx"])
def test_the_program_of_every_runtime_is_one_module(backend: str) -> None:
    from pipeline.bundle import program

    text = program.source(backend, ["classification"], "pictures")
    compile(text, "predict.py", "exec")
    assert not re.search(r"\b(pipeline|stages)\.", text)
    assert (
        len(re.findall(r"^(?:from|import) (?:tensorrt|tensorrt_rtx|ai_edge_litert)", text, re.M))
        == 1
    )


def test_an_engine_added_by_the_recipe_has_no_program() -> None:
    from pipeline.bundle import program

    assert program.source("reference", ["classification"], "arrays") is None


def test_the_same_build_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        export(Export(tmp_path / name, "onnxruntime.fp32", format="zip"), built, PLAN)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert "bundle.json" in archive.namelist()


@pytest.mark.parametrize("name", ["bundle.json", "labels.txt", "onnxruntime.fp32.onnx"])
def test_a_changed_file_is_refused_by_name(bundle: Path, tmp_path: Path, name: str) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    content = bytearray((other / name).read_bytes())
    content[len(content) // 2] ^= 1
    (other / name).write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=re.escape(name)):
        contents.read(other)


def test_what_exists_is_not_overwritten(built: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(SettingsError, match="exists, and is not overwritten"):
        export(Export(tmp_path / "mine"), built, PLAN)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "onnxruntime.int4"], "no engine 'onnxruntime.int4' was built; did you mean"),
        (["--engine", "litert.int8"], "no engine 'litert.int8' was built"),
        (["--batch-size", "7"], "no engine was chosen for batch size 7, expected one of: 1"),
    ],
)
def test_an_engine_that_is_not_there_is_one_line(
    built: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    arguments = ["export", "--to", str(tmp_path / "x"), "--artifacts", str(built), *options]
    done = CliRunner().invoke(command_line, arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert list(tmp_path.iterdir()) == []


def test_an_export_before_a_build_says_what_to_run(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        command_line, ["export", "--to", str(tmp_path / "x"), "--artifacts", str(tmp_path)]
    )
    assert done.exit_code == 1
    assert "nothing to export: no engine was built" in done.output
    assert "pipeline run all" in done.output


def test_a_damaged_engine_is_not_exported(built: Path, tmp_path: Path) -> None:
    artifacts = Path(shutil.copytree(built, tmp_path / "artifacts"))
    with (artifacts / "build" / "onnxruntime.fp32.onnx").open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(ArtifactError, match=r"onnxruntime\.fp32\.onnx has another size"):
        export(Export(tmp_path / "x", "onnxruntime.fp32"), artifacts, PLAN)


def test_an_engine_says_how_it_is_used(built: Path, tmp_path: Path) -> None:
    done = pipeline("export", "--to", "mine", "--artifacts", built, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    command = done.stdout.splitlines()[-1].removeprefix("to use it: pipeline ").split()[:2]
    shown = pipeline(*command, "mine/samples", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == 4


def test_names_of_engines_are_those_of_the_build(bundle: Path) -> None:
    assert contents.read(bundle).engine.name == EngineName("onnxruntime", "fp32")
