"""What a CSV file says of its images: numbers, labels and groups. Masks: test_mask_files.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.datasets import csv_file, csv_targets
from stages.datasets.loading import load_dataset, load_test_split
from stages.errors import DataError
from stages.settings import Data

TABLE = """file,age,weight,defect,part
a.png,31.5,60,0,train
b.png,4,1e1,1,train
c.png,17.25,-3,0,train
d.png,80,70.5,1,test
"""
BOTH = ("age", "weight")


def table(root: Path, text: str = TABLE, **more: Any) -> Data:
    """Settings of a list, whose images are made: 6 x 5 pixels, of the number of their row."""
    (root / "list.csv").write_text(text)
    for number, line in enumerate(text.splitlines()[1:]):
        Image.new("L", (6, 5), number % 256).save(root / line.partition(",")[0])
    return Data.model_validate({"name": "csv", "path": str(root / "list.csv"), **more})


def many(root: Path, row: str, count: int = 60, **more: Any) -> Data:
    """A list of `count` rows to train and 8 to test, each `row` of its number."""
    rows = [
        f"{number}.png,{row.format(n=number, r=(number * 37) % 101)},"
        f"{'train' if number < count else 'test'}"
        for number in range(count + 8)
    ]
    header = "file," + ",".join(f"c{at}" for at in range(row.count(",") + 1)) + ",part"
    return table(root, "\n".join([header, *rows]), calibration_samples=8, **more)


def test_columns_of_numbers_are_the_values_of_a_regression(tmp_path: Path) -> None:
    data = table(tmp_path, target_columns=BOTH)
    assert csv_file.class_names(data) == BOTH
    train = csv_file.read(data, "train")
    assert train.labels.tolist() == [[31.5, 60.0], [4.0, 10.0], [17.25, -3.0]]
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    test = load_test_split(data)
    assert test.labels.dtype == np.float32
    assert test.labels.tolist() == [[80.0, 70.5]]


def test_a_regression_is_divided_with_low_and_high_values_in_every_split(tmp_path: Path) -> None:
    found = load_dataset(many(tmp_path, "{r}.5", target_columns=["c0"]))
    assert (found.task, found.class_names) == ("regression", ("c0",))
    assert [len(each) for each in (found.train, found.validation, found.calibration)] == [46, 6, 8]
    assert np.ptp(found.calibration.labels) > 60


def test_columns_of_0_and_1_are_labels_and_one_of_them_two_classes(tmp_path: Path) -> None:
    data = many(tmp_path, "{n}", target_columns=["c0"])
    text = Path(data.path or "").read_text().splitlines()
    flags = ["file,c0,c1,part"]
    for number, line in enumerate(text[1:]):
        file, _, part = line.split(",")
        flags.append(f"{file},{number % 2}.0,{int(number % 3 > 0)},{part}")
    Path(data.path or "").write_text("\n".join(flags))
    labels = load_dataset(data.model_copy(update={"target_columns": ("c0", "c1")}))
    assert (labels.task, labels.class_names) == ("multilabel", ("c0", "c1"))
    assert (labels.train.labels.dtype, labels.train.labels.shape) == (np.uint8, (46, 2))
    one = load_dataset(data)
    assert (one.task, one.class_names) == ("classification", ("0", "1"))
    assert one.test.labels.tolist() == [number % 2 for number in range(60, 68)]
    assert load_dataset(data, "regression").train.labels.dtype == np.float32


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("b.png,4", "b.png,abc", r"line 3: 'age' is 'abc', expected a number"),
        ("b.png,4", "b.png,", r"line 3: nothing in the column 'age'"),
        ("b.png,4", "b.png,NaN", r"line 3: 'age' is 'NaN', expected a number"),
        ("70.5", "-inf", r"line 5: 'weight' is '-inf', expected a number"),
        ("70.5", "1e39", r"line 5: 'weight' is '1e39', expected a number"),
        ("70.5", "7_0", r"line 5: 'weight' is '7_0', expected a number"),
        ("weight", "we\u202eight", r"has no column 'weight'"),
    ],
)
def test_a_cell_that_is_no_number_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    with pytest.raises(DataError, match=rf"list\.csv.*{words}") as caught:
        csv_file.class_names(table(tmp_path, TABLE.replace(old, new, 1), target_columns=BOTH))
    assert caught.value.hint


def test_a_test_row_that_is_neither_0_nor_1_is_refused_with_its_line(tmp_path: Path) -> None:
    data = table(tmp_path, TABLE.replace(",1,test", ",0.5,test"), target_columns=["defect"])
    with pytest.raises(DataError, match=r"line 5: 'defect' is 0\.5, expected 0 or 1, as in all"):
        load_test_split(data)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["Age"], "has no column 'Age'; did you mean 'age'"),
        (["part"], "the column 'part' is target and split column, expected a column for each"),
        (["file"], "no column names files that exist"),
    ],
)
def test_columns_that_cannot_be_targets_are_refused(
    tmp_path: Path, columns: list[str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        csv_file.class_names(table(tmp_path, target_columns=columns, split_column="part"))


def test_the_name_of_a_column_goes_into_reports_and_holds_no_control_characters(
    tmp_path: Path,
) -> None:
    data = table(tmp_path, TABLE.replace("weight", "we\u202eight"))
    with pytest.raises(DataError, match=r"the column 'we.*ight' holds control characters"):
        csv_file.class_names(data.model_copy(update={"target_columns": ("we\u202eight",)}))


def test_a_target_that_is_the_same_for_all_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the target 'c1' is 7 for every training image"):
        load_dataset(many(tmp_path, "{r}.5,7", target_columns=["c0", "c1"]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"b.png,cat": "b.png,01", "a.png,dog": "a.png,1"}, "line 3: the label '01', which is '1'"),
        ({"c.png,dog": "c.png,2.0", "a.png,dog": "a.png,2"}, "line 4: .*'2.0', .* '2' in .*line 2"),
    ],
)
def test_two_spellings_of_one_number_are_not_two_classes(
    tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    text = "file,label,part\na.png,dog,train\nb.png,cat,train\nc.png,dog,test\nd.png,dog,train\n"
    for old, new in changes.items():
        text = text.replace(old, new)
    data = table(tmp_path, text)
    with pytest.raises(DataError, match=words) as caught:
        csv_file.class_names(data)
    assert caught.value.hint == "write the number in one way"


@given(st.lists(st.text(alphabet="01.+-eEsnaN", max_size=5), max_size=4))
def test_labels_that_pass_are_each_one_number_at_most(labels: list[str]) -> None:
    try:
        csv_targets.refuse_spellings((label, str(at)) for at, label in enumerate(labels))
    except DataError:
        return
    values = {}
    for label in labels:
        try:
            values.setdefault(float(label), set()).add(label)
        except ValueError:
            continue
    assert all(len(each) == 1 for value, each in values.items() if np.isfinite(value))


def grouped(root: Path, groups: int, **more: Any) -> Data:
    """Four images each of so many patients, whose age is theirs alone; two more are to test."""
    rows = ["file,age,patient,part"]
    for patient in range(groups + 2):
        part = "train" if patient < groups else "test"
        age = 20 + 7.5 * patient
        rows += [f"{patient}-{each}.png,{age + each / 9},p{patient},{part}" for each in range(4)]
    return table(root, "\n".join(rows), target_columns=["age"], group_column="patient", **more)


def test_no_patient_of_a_regression_is_in_two_splits(tmp_path: Path) -> None:
    # Fewer patients than strata: each has low or high values for himself.
    found = load_dataset(grouped(tmp_path, 6, calibration_samples=4, validation_share=0.2))
    splits = (found.train, found.validation, found.calibration)
    owners = [set((split.labels[:, 0] - 20) // 7.5) for split in splits]
    assert sorted(map(len, owners)) == [1, 1, 4]
    assert len(set.union(*owners)) == 6


def test_groups_of_a_regression_that_leave_a_split_empty_are_refused(tmp_path: Path) -> None:
    data = grouped(tmp_path, 2, calibration_samples=2)
    with pytest.raises(DataError) as caught:
        load_dataset(data)
    assert caught.value.message == (
        "data.group_column 'patient' has 2 groups of 4 to 4 training images, which leave none for "
        "validation"
    )


def labelled(root: Path, patients: int, labels: int) -> Data:
    """Four images each of so many patients; the first ones have a label that is theirs alone."""
    names = [f"l{label}" for label in range(labels)]
    rows = [",".join(["file", "patient", "part", "odd", *names])]
    for patient in range(patients + 1):
        part = "train" if patient < patients else "test"
        own = ",".join(str(int(patient == label)) for label in range(labels))
        rows += [f"{patient}-{each}.png,p{patient},{part},{each % 2},{own}" for each in range(4)]
    columns = ["odd", *names]
    return table(
        root,
        "\n".join(rows),
        target_columns=columns,
        group_column="patient",
        calibration_samples=4,
    )


def test_a_patient_who_alone_has_a_label_stays_in_training(tmp_path: Path) -> None:
    data = labelled(tmp_path, patients=5, labels=1)
    for seed in range(6):
        found = load_dataset(data.model_copy(update={"seed": seed}))
        assert found.train.labels[:, 1].sum() == 4


def test_a_label_of_which_no_image_is_left_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the label 'l\d' has too few training images"):
        load_dataset(labelled(tmp_path, patients=3, labels=3))
