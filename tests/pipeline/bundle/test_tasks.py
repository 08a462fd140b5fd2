"""A bundle of every task: exported, loaded, asked on the command line and by its own program."""

from __future__ import annotations

import csv
import io
import json
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import call
from numpy.typing import NDArray
from PIL import Image

import pipeline
from pipeline.bundle import contents, program, triton
from pipeline.bundle.answers import columns
from pipeline.bundle.export import Export, export
from pipeline.bundle.predictions import ClassPredictions
from pipeline.core.plan import PLAN
from pipeline.core.seal import opened, seal
from stages.errors import SettingsError
from tests.built_artifact import SIGNATURES, images, outputs, write

PIXELS = images(6, seed=4)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By what is asked; not to be written to."""
    root: Path = tmp_path_factory.mktemp("tasks")
    for name in SIGNATURES:
        export(Export(root / name, "onnxruntime.fp32"), write(root / f"made {name}", name), PLAN)
    return {name: root / name for name in SIGNATURES}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PIXELS as files."""
    root: Path = tmp_path_factory.mktemp("photos")
    for index, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(root / f"{index}.png")
    return root


def shares(name: str) -> NDArray[np.float64]:
    """What the outputs for PIXELS mean, where that is probabilities."""
    found = outputs(name, PIXELS)
    return found if SIGNATURES[name].returns_probabilities else 1 / (1 + np.exp(-found))


def masks(name: str) -> NDArray[np.int64]:
    if name == "one channel":
        return np.asarray(shares(name)[..., 0] >= 0.6, np.int64)
    return np.asarray(outputs(name, PIXELS).argmax(axis=-1))


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_bundle_says_what_is_asked_and_gives_it(bundles: dict[str, Path], name: str) -> None:
    signature = SIGNATURES[name]
    found = contents.read(bundles[name])
    assert found.bundle_version == 3
    assert (found.output.task, found.output.thresholds) == (signature.task, signature.thresholds)
    assert found.output.shape == signature.shape_of_output
    with pipeline.load(bundles[name]) as engine:
        said = engine.predict(PIXELS)
    np.testing.assert_allclose(said.outputs, outputs(name, PIXELS), rtol=1e-4, atol=1e-5)


def test_labels_are_listed_where_there_are_any(bundles: dict[str, Path]) -> None:
    assert (bundles["segmentation"] / "labels.txt").read_text().split() == ["mask", "a", "b"]
    assert not (bundles["regression"] / "labels.txt").exists()


def test_a_bundle_of_version_1_is_one_of_a_classifier(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    bundle = bundles["classification"]
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    raw = opened((bundle / contents.FILE).read_bytes())
    for key in ("task", "shape", "thresholds"):
        del raw["output"][key]
    text = json.dumps({**raw, "bundle_version": 1})
    (other / contents.FILE).write_bytes(seal(text))
    assert contents.read(other).output == contents.read(bundle).output
    with pipeline.load(other) as engine:
        assert isinstance(engine.predict(PIXELS), ClassPredictions)


def table(folder: Path) -> list[dict[str, str]]:
    text = (folder / "answers.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def mask(file: Path, mode: str = "L") -> NDArray[np.uint8]:
    with Image.open(file) as image:
        assert image.mode == mode
        return np.asarray(image)


def asked(bundle: Path, photos: Path, *options: str) -> list[dict[str, Any]]:
    done = call("predict", str(bundle), str(photos), "--format", "json", *options)
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert [Path(each["image"]).stem for each in found] == [str(i) for i in range(len(PIXELS))]
    return found


def test_the_command_says_yes_or_no(bundles: dict[str, Path], photos: Path) -> None:
    expected = shares("binary")[:, 0]
    assert 0 < (expected >= 0.45).sum() < len(PIXELS)  # or it would show nothing
    for answer, share in zip(asked(bundles["binary"], photos), expected, strict=True):
        assert answer["class"] == ("defect" if share >= 0.45 else "sound")
        assert answer["probability"] == pytest.approx(share, abs=1e-5)


def test_the_command_says_which_labels(bundles: dict[str, Path], photos: Path) -> None:
    expected, limits = shares("multilabel"), SIGNATURES["multilabel"].thresholds
    for answer, row in zip(asked(bundles["multilabel"], photos), expected, strict=True):
        names = ("red", "green", "blue")
        has = {
            name for name, share, limit in zip(names, row, limits, strict=True) if share >= limit
        }
        assert set(answer["labels"]) == has
        assert list(answer["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-5)


def test_the_command_says_which_values(bundles: dict[str, Path], photos: Path) -> None:
    rows = outputs("regression", PIXELS).tolist()
    for answer, row in zip(asked(bundles["regression"], photos), rows, strict=True):
        assert answer["values"] == pytest.approx(dict(zip(("x", "y"), row, strict=True)), rel=1e-4)


@pytest.mark.parametrize("name", ["segmentation", "one channel"])
@pytest.mark.parametrize("options", [[], ["--palette"]], ids=["gray", "palette"])
def test_the_command_writes_masks_whose_values_are_the_classes(
    bundles: dict[str, Path], photos: Path, tmp_path: Path, name: str, options: list[str]
) -> None:
    to = tmp_path / "masks"
    found = asked(bundles[name], photos, "--to", str(to), *options)
    for answer, expected in zip(found, masks(name), strict=True):
        assert (mask(to / answer["mask_file"], "P" if options else "L") == expected).all()
        count = len(SIGNATURES[name].class_names)
        parts = [float((expected == index).mean()) for index in range(count)]
        assert list(answer["shares"].values()) == pytest.approx(parts, abs=1e-6)
    assert [row["mask_file"] for row in table(to)] == [each["mask_file"] for each in found]
    assert list(tmp_path.iterdir()) == [to]


LINES = {
    "classification": r"((r|g|b) \d+\.\d%(  )?){3}",
    "binary": r"(sound|defect)  probability of defect \d+\.\d%, threshold 45\.0%",
    "multilabel": r"((red|green|blue) \d+\.\d%(  )?)+|none of 3 labels",
    "regression": r"x: \S+  y: \S+",
    "segmentation": r"((mask|a|b) \d+\.\d%(  )?)+",
    "one channel": r"((back|front) \d+\.\d%(  )?)+",
    "raw": "6 x 4 x 2 values",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_line_and_a_row_say_the_same_as_the_program_of_the_bundle(
    bundles: dict[str, Path],
    photos: Path,
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = sorted(map(str, photos.iterdir()))
    options = ["--to", str(tmp_path / "ours"), "--batch-size", "1"]  # as it does, bit by bit
    done = call("predict", str(bundles[name]), *files, *options)
    lines = [re.sub(r"  \S+\.png$", "", line) for line in done.stdout.splitlines()]
    for file, line in zip(files, lines, strict=True):
        assert re.fullmatch(f"{re.escape(file)}  ({LINES[name]})", line), line
    monkeypatch.setattr(sys, "argv", ["predict.py", "--to", str(tmp_path / "its"), *files])
    runpy.run_path(str(bundles[name] / "predict.py"), run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    same = [line.replace(": ", "  ", 1).replace(", ", "  ") for line in said]
    assert same == [line.replace(", ", "  ") for line in lines]
    ours, its = tmp_path / "ours", tmp_path / "its"
    for row, other in zip(table(ours), table(its), strict=True):
        if "mask_file" in row:
            first, second = mask(ours / row.pop("mask_file")), mask(its / other.pop("mask_file"))
            assert (first == second).all()
        assert row == other


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_program_compares_outputs_of_any_shape(
    bundles: dict[str, Path],
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["predict.py", "--check"])
    runpy.run_path(str(bundles[name] / "predict.py"), run_name="__main__")
    assert "outputs differ by 0.000%" in capsys.readouterr().out
    other = Path(shutil.copytree(bundles[name], tmp_path / "other"))
    expected = np.load(other / "expected.npy")
    expected[-1].flat[-1] += 0.01 * np.abs(expected).max()
    np.save(other / "expected.npy", expected)
    with pytest.raises(SystemExit, match="not the engine that was measured"):
        runpy.run_path(str(other / "predict.py"), run_name="__main__")


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_program_of_every_task_is_one_module(name: str) -> None:
    for backend in ("litert", "onnxruntime", "openvino", "tensorrt"):
        text = program.source(backend, [SIGNATURES[name].task], "pictures")
        assert text is not None
        compile(text, "predict.py", "exec")
        assert not re.search(r"\b(pipeline|stages)\.", text)


@pytest.mark.parametrize("name", SIGNATURES)
def test_triton_is_told_the_shape_and_no_labels_that_would_rank_what_is_no_class(
    bundles: dict[str, Path], name: str
) -> None:
    lines = list(triton.config(contents.read(bundles[name]), (1, 8), b""))
    assert f"  dims: {list(SIGNATURES[name].shape_of_output)}" in lines
    assert ("labels.txt" in "".join(lines)) == (name == "classification")


def test_the_program_does_not_overwrite(
    bundles: dict[str, Path], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["predict.py", "--to", str(tmp_path), str(photos / "0.png")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="exists, and is not overwritten"):
        runpy.run_path(str(bundles["segmentation"] / "predict.py"), run_name="__main__")
    assert not list(tmp_path.iterdir())


def test_no_answer_is_read_from_outputs_that_are_not_finite(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = write(tmp_path / "made", "segmentation", added=np.inf)
    export(Export(tmp_path / "bundle", "onnxruntime.fp32"), artifacts, PLAN)
    done = call("predict", str(tmp_path / "bundle"), str(photos), "--to", str(tmp_path / "masks"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "the outputs of 6 of 6 images are not finite" in done.stderr
    assert not (tmp_path / "masks").exists()
    monkeypatch.setattr(sys, "argv", ["predict.py", str(photos / "0.png")])
    with pytest.raises(SystemExit, match="outputs are not finite"):
        runpy.run_path(str(tmp_path / "bundle" / "predict.py"), run_name="__main__")


@pytest.mark.parametrize("words", [[], ["--to"], ["--to", "folder"]])
def test_the_program_says_how_it_is_called(
    bundles: dict[str, Path], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["predict.py", *words])
    with pytest.raises(SystemExit, match=r"python predict\.py --to FOLDER FILE"):
        runpy.run_path(str(bundles["binary"] / "predict.py"), run_name="__main__")


@pytest.mark.parametrize(
    ("name", "names", "twice"),
    [
        ("regression", ("image", "y"), "image"),
        ("regression", ("x", "x"), "x"),
        ("multilabel", ("a", "b", "a_probability"), "a_probability"),
        ("segmentation", ("mask_file", "b", "c"), "mask_file"),
    ],
)
def test_names_that_would_give_two_columns_of_one_name_are_refused(
    tmp_path: Path, name: str, names: tuple[str, ...], twice: str
) -> None:
    artifacts = write(tmp_path / "made", name, names=names)
    with pytest.raises(SettingsError, match=f"two columns of the answers .* called '{twice}'"):
        export(Export(tmp_path / "bundle", "onnxruntime.fp32"), artifacts, PLAN)
    assert not (tmp_path / "bundle").exists()


def test_the_columns_of_a_bundle_are_those_that_were_looked_at(
    bundles: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    for name in ("regression", "multilabel", "segmentation", "one channel"):
        asked(bundles[name], photos, "--to", str(tmp_path / name))
        signature = SIGNATURES[name]
        expected = columns(signature.task, signature.class_names)
        assert sorted(table(tmp_path / name)[0]) == sorted(expected)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n", b"cut"], ids=str)
def test_the_program_ends_with_a_line_for_a_file_that_cannot_be_read_and_makes_no_folder(
    bundles: dict[str, Path],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
) -> None:
    photo = photos / "0.png"
    if content is not None:
        whole = photo.read_bytes()
        (tmp_path / "a.png").write_bytes(whole[:-60] if content == b"cut" else content)
    words = ["predict.py", "--to", str(tmp_path / "new"), str(photo), str(tmp_path / "a.png")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match=r"a\.png cannot be read: ."):
        runpy.run_path(str(bundles["segmentation"] / "predict.py"), run_name="__main__")
    assert not (tmp_path / "new").exists()


def test_the_program_takes_no_array_of_another_shape(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", PIXELS[0].astype(np.float32))
    monkeypatch.setattr(sys, "argv", ["predict.py", str(tmp_path / "a.npy")])
    with pytest.raises(
        SystemExit, match=r"a\.npy holds float32 \(6, 4, 3\), expected uint8 \(6, 4, 3\)"
    ):
        runpy.run_path(str(bundles["binary"] / "predict.py"), run_name="__main__")
