"""The recipes of docs/data.md for formats that no data set reads."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from stages.datasets.loading import load_dataset
from stages.settings import Data, Model, TrainStage
from stages.training import evaluate
from stages.training.network import create
from tests.conftest import ROOT

BLOCK = re.compile(r"```python\n# (\w+)\.py\n(.*?)```", re.DOTALL)
NAMES = ("own_records", "coco_masks", "yolo_table", "fruit")


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with the modules of the recipes."""
    for name, text in BLOCK.findall((ROOT / "docs/data.md").read_text()):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in NAMES:
        sys.modules.pop(name, None)


def imported(name: str) -> ModuleType:
    return __import__(name)


def test_records_of_tensorflow_are_a_data_set(recipes: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (48, 6, 5, 3), np.uint8)
    (recipes / "records").mkdir()
    for file, rows in (
        ("train-0", range(20)),
        ("train-1", range(20, 40)),
        ("test-0", range(40, 48)),
    ):
        with tf.io.TFRecordWriter(f"records/{file}.tfrecord") as writer:
            for row in rows:
                pixels = tf.io.encode_png(images[row]).numpy()
                example = tf.train.Example()
                example.features.feature["image"].bytes_list.value.append(pixels)
                example.features.feature["label"].int64_list.value.append(row % 3)
                writer.write(example.SerializeToString())
    found = load_dataset(Data(source="own_records:load", calibration_samples=4))
    assert found.task == "classification"
    np.testing.assert_array_equal(found.test.images[:], images[40:])
    assert found.test.labels.tolist() == [row % 3 for row in range(40, 48)]
    assert len(found.train) + len(found.validation) + len(found.calibration) == 40


def coco(root: Path, part: str, count: int) -> dict[str, object]:
    """Per image a large car with a small person on it, and in every second one a crowd."""
    (root / part / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        name = f"{number:03}.jpg"
        Image.new("RGB", (8, 6), (9 * number, 0, 0)).save(root / part / "images" / name)
        images.append({"id": 7 + number, "file_name": name, "height": 6, "width": 8})
        shapes = [
            (3, 2.0, [[3, 2, 5, 2, 5, 3, 3, 3]], 0),
            (90, 20.0, [[1, 1, 6, 1, 6, 5, 1, 5]], 0),
            *([(3, 4.0, {"counts": [36, 12], "size": [6, 8]}, 1)] if number % 2 else []),
        ]
        annotations += [
            {"image_id": 7 + number, "category_id": category, "area": area}
            | {"segmentation": segmentation, "iscrowd": crowd}
            for category, area, segmentation, crowd in shapes
        ]
    categories = [{"id": 90, "name": "car"}, {"id": 3, "name": "person"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def test_instances_of_coco_are_masks(recipes: Path) -> None:
    root = recipes / "street"
    for part, count in (("train", 10), ("test", 2)):
        (recipes / "instances.json").write_text(json.dumps(coco(root, part, count)))
        imported("coco_masks").write("instances.json", root / part / "masks")
    found = load_dataset(Data(name="masks", path=str(root), calibration_samples=2))
    assert found.class_names == ("nothing", "person", "car")
    expected = np.zeros((6, 8), int)
    expected[1:5, 1:6] = 2
    expected[2, 3:5] = 1
    np.testing.assert_array_equal(found.test.labels[0], expected)
    expected[:, 6:] = 255
    np.testing.assert_array_equal(found.test.labels[1], expected)


def test_boxes_of_yolo_are_labels(recipes: Path) -> None:
    for part, count in (("train", 12), ("test", 4)):
        for folder in ("images", "labels"):
            (recipes / "shop" / folder / part).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (4, 4)).save(recipes / f"shop/images/{part}/{number:02}.png")
            shown = [kind for kind in (0, 1) if number >> kind & 1]
            if shown:
                boxes = "".join(f"{kind} 0.5 0.5 0.2 0.2\n" for kind in (*shown, shown[0]))
                (recipes / f"shop/labels/{part}/{number:02}.txt").write_text(boxes)
    imported("yolo_table").write("shop", ["shelf", "person"], "shop.csv")
    columns = ("shelf", "person")
    data = Data(name="csv", path="shop.csv", target_columns=columns, calibration_samples=2)
    found = load_dataset(data)
    assert (found.task, found.class_names) == ("multilabel", columns)
    assert found.test.labels.tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    with pytest.raises(ValueError, match="names has 1"):
        imported("yolo_table").write("shop", ["shelf"], "shop.csv")


def test_the_network_of_two_inputs_takes_its_data(recipes: Path) -> None:
    settings = TrainStage(
        data=Data(source="fruit:load", shift_pixels=0), model=Model(source="fruit:build")
    )
    model, signature, dataset = create(settings, load_dataset(settings.data))
    assert signature.input_names == ("picture", "table")
    outputs = evaluate.logits(model, signature.preprocess(dataset.test.images[:9]))
    assert outputs.shape == (9, 4)
    assert [len(np.unique(dataset.test.labels)), len(dataset.test)] == [4, 400]
