"""Labels of several outputs: read, told apart, divided."""

from __future__ import annotations

import sys
import textwrap

import numpy as np
import pytest

from stages.datasets.loading import load_dataset
from stages.datasets.several import labels_of
from stages.errors import DataError
from stages.numerics import fields
from stages.settings import Data

N = 60
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 255, (N, 8, 8, 1), np.uint8)
LABELS = {"kind": np.arange(N) % 3, "box": RANDOM.normal(size=(N, 4)).astype(np.float32)}


@pytest.fixture
def file(tmp_path):
    def write(**labels):
        parts = {
            f"{y}/{name}": each for y in ("y_train", "y_test") for name, each in LABELS.items()
        }
        arrays = {"x_train": IMAGES, "x_test": IMAGES, **parts, **labels}
        arrays = {name: each for name, each in arrays.items() if each is not None}
        np.savez(tmp_path / "set.npz", **arrays)
        return Data(name="npz", path=str(tmp_path / "set.npz"), calibration_samples=6)

    return write


def test_each_output_has_a_task_of_its_own(file):
    found = load_dataset(file())
    assert found.task == "several"
    assert [(each.name, each.task) for each in found.targets] == [
        ("box", "regression"),
        ("kind", "classification"),
    ]
    assert found.targets[1].class_names == ("0", "1", "2")
    assert fields.names(found.train.labels) == ("box", "kind")


def test_images_keep_the_labels_of_all_outputs(file):
    found = load_dataset(file())
    for split in (found.train, found.validation, found.calibration, found.test):
        places = [
            int(np.flatnonzero((each == IMAGES).all(axis=(1, 2, 3)))[0]) for each in split.images[:]
        ]
        np.testing.assert_array_equal(split.labels["kind"], LABELS["kind"][places])
        np.testing.assert_array_equal(split.labels["box"], LABELS["box"][places])


def test_every_split_has_its_share_of_the_classes_of_an_output(file):
    found = load_dataset(file())
    assert np.bincount(found.calibration.labels["kind"]).tolist() == [2, 2, 2]


def test_a_task_may_be_given_for_one_output(file):
    found = load_dataset(file(), {"kind": "regression"})
    assert [each.task for each in found.targets] == ["regression", "regression"]


@pytest.mark.parametrize(
    ("labels", "wanted", "words"),
    [
        ({}, "regression", "labels are of the outputs box, kind, but model.task"),
        ({}, {"boxes": "regression"}, "model.tasks names 'boxes', but the labels"),
        ({"y_test/kind": None}, None, "the test labels are of box, expected box, kind"),
        (
            {"y_train/box": np.full((N, 4), np.nan)},
            None,
            "output 'box': 240 of 240 targets are NaN",
        ),
        ({"y_train/kind": np.zeros(N, int)}, None, "the training part has 1 class"),
        ({"y_train/a b": np.zeros(N)}, None, "an output is named 'a b', expected letters"),
        ({"y_train/box": np.zeros((N, 0))}, None, r"labels of 'box' have the shape \(60, 0\)"),
        ({"y_train/box": np.zeros((3, 4))}, None, "the labels are 3 of 'box', 60 of 'kind'"),
        ({"y_train/kind": np.arange(N, dtype=float)}, None, "classes or measured numbers"),
    ],
)
def test_labels_that_are_unfit_are_refused(file, labels, wanted, words):
    with pytest.raises(DataError, match=words):
        load_dataset(file(**labels), wanted)


def test_a_doubt_names_the_setting_of_the_output(file):
    with pytest.raises(DataError) as caught:
        load_dataset(file(**{"y_train/kind": np.arange(N, dtype=float)}))
    assert "--set 'model.tasks={kind = \"regression\"}'" in caught.value.hint


def test_tasks_of_outputs_need_labels_of_outputs(file):
    single = dict.fromkeys(("y_train/box", "y_train/kind", "y_test/box", "y_test/kind"))
    settings = file(**single, y_train=LABELS["kind"], y_test=LABELS["kind"])
    with pytest.raises(DataError, match="labels are of one output, but model"):
        load_dataset(settings, {"kind": "classification"})


def test_the_order_of_the_outputs_changes_no_split(file):
    labels = {"first": np.arange(N) % 3, "other": np.arange(N) % 4 // 2}
    drop = dict.fromkeys(("y_train/box", "y_train/kind", "y_test/box", "y_test/kind"))
    both = {f"{y}/{name}": each for y in ("y_train", "y_test") for name, each in labels.items()}
    settings = file(**drop, **both).model_copy(update={"test_samples": 21})
    one = load_dataset(settings)
    tasks = {"raw_one": "raw", "other": "classification", "first": "classification"}
    other = load_dataset(settings, tasks, "raw")
    for part in ("train", "validation", "calibration", "test"):
        pair = (getattr(each, part) for each in (one, other))
        first, second = (each.images[:] for each in pair)
        np.testing.assert_array_equal(first, second)


def test_labels_of_one_and_of_several_outputs_are_not_mixed(file):
    with pytest.raises(DataError, match="has y_train and y_train/box, expected one or the other"):
        load_dataset(file(y_train=LABELS["kind"]))
    single = {"y_train/box": None, "y_train/kind": None, "y_train": LABELS["kind"]}
    with pytest.raises(DataError, match="the test labels are of the outputs box, kind, expected"):
        load_dataset(file(**single))


SOURCES = {
    "arrays": "return images, labels",
    "dataset": "return Dataset.from_tensor_slices((images, labels))",
    "batches": "return Dataset.from_tensor_slices((images, labels)).batch(7)",
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_function_may_give_a_dictionary_of_labels(kind, tmp_path, monkeypatch):
    module = f"two_headed_{kind}"
    source = f"""
        import numpy as np
        {"from tensorflow.data import Dataset" if kind != "arrays" else ""}

        def load(part):
            random = np.random.default_rng(len(part))
            images = random.integers(0, 255, (40, 8, 8, 1), np.uint8)
            boxes = np.full((40, 4), np.arange(0.5, 40)[:, None])
            labels = {{"kind": np.arange(40) % 2, "box": boxes}}
            {SOURCES[kind]}
    """
    (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = load_dataset(Data(name="source", source=f"{module}:load", calibration_samples=4))
    assert {each.name: each.task for each in found.targets} == {
        "kind": "classification",
        "box": "regression",
    }
    np.testing.assert_array_equal(found.test.labels["box"][:, 0], np.arange(0.5, 40))
    sys.modules.pop(module)


def test_class_numbers_in_a_column_are_put_in_a_row():
    found = labels_of({"kind": np.array([[1], [0]]), "value": np.array([[1.0], [0.5]])}, "here")
    assert (found["kind"].shape, found["value"].shape) == ((2,), (2, 1))
