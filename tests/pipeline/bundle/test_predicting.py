from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from children import call, output_of
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import pipeline as command_line
from tests.stages.graphs import images


@pytest.fixture
def photos(bundle: Path, tmp_path: Path) -> Path:
    """The samples of the bundle as image files, and one file that is none."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(4):
        shutil.copy(bundle / "samples" / f"{index}.png", photos)
    return photos


def expected(bundle: Path) -> list[str]:
    return ["abcd"[index] for index in np.load(bundle / "expected.npy").argmax(axis=1)]


def test_a_folder_is_read_by_name(bundle: Path, photos: Path) -> None:
    done = call("predict", str(bundle), str(photos), "--top", "1")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [f"{photos}/{i}.png" for i in range(4)]
    assert [line.split()[1] for line in lines] == expected(bundle)
    assert "4 images in" in done.stderr


def test_json_and_csv_say_the_same(bundle: Path, photos: Path) -> None:
    found = json.loads(call("predict", str(bundle), str(photos), "--format", "json").stdout)
    rows = call("predict", str(bundle), str(photos), "--format", "csv").stdout
    table = list(csv.DictReader(io.StringIO(rows)))
    assert [each["top"][0]["class"] for each in found] == expected(bundle)
    for each, row in zip(found, table, strict=True):
        assert row["image"] == each["image"]
        for rank, best in enumerate(each["top"], 1):
            assert row[f"class_{rank}"] == best["class"]
            assert float(row[f"probability_{rank}"]) == pytest.approx(best["probability"])


def test_one_bad_file_is_told_and_does_not_end_the_rest(bundle: Path, photos: Path) -> None:
    (photos / "1.png").write_text("no image")
    done = call("predict", str(bundle), str(photos), "nowhere.png", "--batch-size", "2")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 3
    assert "1.png cannot be read as an image" in done.stderr
    assert "there is no file 'nowhere.png'" in done.stderr
    assert "images that were left out: 2" in done.stderr


def test_an_animation_is_told(bundle: Path, tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    done = call("predict", str(bundle), str(tmp_path / "a.png"))
    assert done.exit_code == 0, done.output
    assert "a.png: first frame" in done.stderr


def test_standard_input_is_a_list_of_names(bundle: Path, photos: Path) -> None:
    names = "".join(f"{photos}/{index}.png\n" for index in (2, 0))
    done = CliRunner().invoke(command_line, ["predict", str(bundle), "-"], input=names)
    assert done.exit_code == 0, done.output
    best = [line.split()[1] for line in done.stdout.splitlines()]
    assert best == [expected(bundle)[2], expected(bundle)[0]]


@pytest.mark.parametrize("given", ["", "\n \n"])
def test_standard_input_that_names_no_file_is_no_success(bundle: Path, given: str) -> None:
    done = CliRunner().invoke(command_line, ["predict", str(bundle), "-"], input=given)
    assert done.exit_code == 1
    assert "left out: standard input names no file\n" in done.stderr


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_are_read_image_by_image(bundle: Path, tmp_path: Path, suffix: str) -> None:
    pixels, file = images(64)[:4], tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(file, pixels)
    else:
        np.savez(file, x_test=pixels, y_test=np.arange(4))
    done = call("predict", str(bundle), str(file))
    assert done.exit_code == 0, done.output
    assert [line.split()[1] for line in done.stdout.splitlines()] == expected(bundle)


def test_an_array_is_one_image_many_or_neither(bundle: Path, tmp_path: Path) -> None:
    pixels = images(64)
    for name, array in (("one", pixels[1]), ("gray", pixels[2, ..., 0]), ("cut", pixels[:4, 1:])):
        np.save(tmp_path / f"{name}.npy", array)
    files = [str(tmp_path / f"{name}.npy") for name in ("one", "gray", "cut")]
    done = call("predict", str(bundle), *files)
    assert done.exit_code == 1
    said = [tuple(line.split()[:2]) for line in done.stdout.splitlines()]
    assert said == list(zip(files[:2], expected(bundle)[1:3], strict=True))
    assert done.stderr.count("left out") == 2  # a line of it, and that there was one
    assert "have the shape (4, 7, 8, 1), expected (N, 8, 8, 1)" in done.stderr


def test_an_array_without_any_image_is_told_and_no_success(bundle: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.npy"
    np.save(empty, images(4)[:0])
    done = call("predict", str(bundle), str(empty))
    assert done.exit_code == 1
    assert f"left out: {empty}: got no images to predict, expected one or more\n" in done.stderr
    assert done.stdout == ""


def test_without_any_image_json_is_an_empty_list(bundle: Path, tmp_path: Path) -> None:
    done = call("predict", str(bundle), str(tmp_path), "--format", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == []
    assert "holds no image file" in done.stderr


def test_a_program_that_predicts_imports_no_tensorflow(bundle: Path) -> None:
    code = (
        "import sys, numpy, pipeline\n"
        "assert 'pydantic' not in sys.modules\n"
        "with pipeline.load(sys.argv[1]) as engine:\n"
        "    engine.predict(numpy.zeros((1, 8, 8, 1), numpy.uint8))\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = set(output_of(code, str(bundle)).split())
    assert not loaded & {"tensorflow", "keras", "onnx", "PIL", "sklearn", "matplotlib", "h5py"}
