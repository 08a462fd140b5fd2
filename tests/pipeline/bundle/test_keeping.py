from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from children import call
from PIL import Image

from pipeline.bundle import keeping
from pipeline.bundle.answers import Answer
from pipeline.bundle.export import Export, export
from pipeline.core.plan import PLAN
from tests.built_artifact import images, write


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that returns values; not to be written to."""
    root: Path = tmp_path_factory.mktemp("values")
    export(Export(root / "x", "onnxruntime.fp32"), write(root / "made", "regression"), PLAN)
    return root / "x"


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """An image file in a folder of its own."""
    (tmp_path / "photos").mkdir()
    Image.fromarray(images(1)[0]).save(tmp_path / "photos" / "a.png")
    return str(tmp_path / "photos" / "a.png")


def answers(*names: str) -> list[Answer]:
    return [
        Answer(name, "", {"back": "1.0"}, {}, {"": np.full((2, 2), index, np.uint8)})
        for index, name in enumerate(names)
    ]


def test_images_of_one_name_get_masks_of_their_own(tmp_path: Path) -> None:
    names = ("a/1.png", "b/1.jpg", "1-2.png", "x.npz:x_test[3]", "Ä ö.png")
    kept = list(keeping.kept(answers(*names), tmp_path, False))
    files = [each.content["mask_file"] for each in kept]
    assert files == ["1.png", "1-2.png", "1-2-2.png", "x.png", "Ä_ö.png"]
    for index, file in enumerate(files):
        with Image.open(tmp_path / file) as image:
            assert (np.asarray(image) == index).all()


def test_a_class_called_like_a_column_keeps_its_share(tmp_path: Path) -> None:
    (answer,) = keeping.kept(
        [Answer("a", "", {"mask": "0.25"}, {}, {"": np.zeros((2, 2), np.uint8)})], tmp_path, False
    )
    assert answer.row == {"mask_file": "a.png", "mask": "0.25"}


def test_the_colours_are_those_of_pascal_voc() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for index, colour in {**known, 255: (224, 224, 192)}.items():
        assert tuple(keeping.palette()[index].tolist()) == colour
    assert len({tuple(each) for each in keeping.palette().tolist()}) == 256


def test_a_folder_that_exists_is_refused_before_anything_runs(
    bundle: Path, photo: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    done = call("predict", str(bundle), photo, "--to", str(tmp_path / "mine"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "mine' exists, and is not overwritten" in done.stderr
    assert not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top", "2"], "--top is for the most likely classes, and the engine's task is regr"),
        (["--palette"], "--palette is for masks, and the engine's task is regression"),
    ],
)
def test_an_option_of_another_task_is_refused_and_nothing_is_written(
    bundle: Path, photo: str, tmp_path: Path, options: list[str], message: str
) -> None:
    done = call("predict", str(bundle), photo, "--to", str(tmp_path / "new"), *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_was_left_out_does_not_take_the_rest_with_it(
    bundle: Path, photo: str, tmp_path: Path
) -> None:
    done = call("predict", str(bundle), "gone.png", photo, "--to", str(tmp_path / "new"))
    assert done.exit_code == 1
    assert (tmp_path / "new" / "answers.csv").read_text().startswith(f"image,x,y\n{photo},")


def test_where_no_image_can_be_read_nothing_is_left(bundle: Path, tmp_path: Path) -> None:
    done = call("predict", str(bundle), "gone.png", "--to", str(tmp_path / "new"))
    assert done.exit_code == 1
    assert "images that were left out: 1" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_place_that_takes_no_folder_is_one_line(bundle: Path, photo: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = call("predict", str(bundle), photo, "--to", str(tmp_path / "file" / "new"))
    assert done.exit_code == 1
    assert "cannot write to" in done.stderr
    assert "choose another path" in done.stderr
