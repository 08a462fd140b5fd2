from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.datasets import csv_file, csv_parts
from stages.datasets.loading import load_dataset, load_test_split
from stages.errors import DataError
from stages.settings import Data

TABLE = """image,label,part
a.png,dog,train
b.png,cat,Train
c.png,dog,TEST
d.png,cat,test
e.png,cat,train
"""


def save(root: Path, *names: str) -> None:
    """Images of 6 x 5 pixels, whose red says which of the names theirs is."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (number, 0, 9)).save(root / name)


def table(root: Path, text: str = TABLE, **more: object) -> Data:
    (root / "list.csv").write_text(text)
    return Data.model_validate({"name": "csv", "path": str(root / "list.csv"), **more})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save(tmp_path, *(f"{letter}.png" for letter in "abcde"))
    return tmp_path


def test_rows_become_images_in_their_order_and_classes_in_that_of_the_alphabet(root: Path) -> None:
    data = table(root)
    assert csv_file.class_names(data) == ("cat", "dog")
    train, test = csv_file.read(data, "train"), csv_file.read(data, "test")
    assert train.images.shape == (3, 5, 6, 3)
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 4]
    assert train.labels.tolist() == [1, 0, 0]
    assert test.images[:, 0, 0, 0].tolist() == [2, 3]
    assert test.labels.tolist() == [1, 0]
    assert train.groups is None


def test_files_are_relative_to_the_csv_and_may_lie_anywhere(root: Path) -> None:
    save(root, "deep/x.png", "y.png")
    (root / "tables").mkdir()
    text = f"label,file\ncat,../deep/x.png\ndog,{root / 'y.png'}\n"
    data = table(root / "tables", text, test_path=str(root / "list.csv"), label_column="label")
    (root / "list.csv").write_text("label,file\ncat,a.png\n")
    assert csv_file.read(data, "train").images[:, 0, 0, 0].tolist() == [0, 1]
    assert csv_file.read(data, "test").labels.tolist() == [0]


def test_columns_are_found_where_they_are_certain_and_set_where_not(root: Path) -> None:
    text = "file,kind,age,part\na.png,x,1,train\nb.png,y,2,train\nc.png,x,1,test\n"
    with pytest.raises(DataError, match="labels may be in 'kind', 'age', expected one") as caught:
        csv_file.class_names(table(root, text))
    assert "--set data.label_column=COLUMN" in caught.value.hint
    assert csv_file.class_names(table(root, text, label_column="kind")) == ("x", "y")
    assert csv_file.class_names(table(root, text, label_column="age")) == ("1", "2")
    called = text.replace("kind", "Label")
    assert csv_file.class_names(table(root, called)) == ("x", "y")


def test_an_unnamed_column_as_pandas_writes_it_is_passed_over(root: Path) -> None:
    text = ",file,kind,part\n0,a.png,x,train\n1,b.png,y,train\n2,c.png,x,test\n"
    assert csv_file.class_names(table(root, text)) == ("x", "y")


def test_bom_blanks_and_quotes_of_spreadsheets_are_no_part_of_a_name(root: Path) -> None:
    (root / "a.png").rename(root / "a,1.png")
    text = '\ufefffile, label, part\n"a,1.png", cat ,train\nb.png,dog,train\n\nc.png,cat,test\n'
    data = table(root)
    (root / "list.csv").write_bytes(text.replace("\n", "\r\n").encode())
    assert csv_file.class_names(data) == ("cat", "dog")
    assert csv_file.read(data, "train").images[:, 0, 0, 0].tolist() == [0, 1]


def test_a_link_to_a_training_image_is_no_test_image(root: Path) -> None:
    (root / "c.png").unlink()
    (root / "c.png").symlink_to("a.png")
    with pytest.raises(DataError) as caught:
        csv_file.class_names(table(root))
    file, place = root.resolve() / "a.png", f"{root / 'list.csv'}, line"
    assert caught.value.message == (
        f"{place} 4: {root / 'c.png'} is {file} again, which {place} 2 has, expected each file once"
    )


def test_an_image_in_a_linked_folder_is_the_same_image(root: Path) -> None:
    (root / "linked").symlink_to(root, target_is_directory=True)
    with pytest.raises(
        DataError, match=r"line 4: .*linked.* is .*a\.png again, which .*line 2 has"
    ):
        csv_file.class_names(table(root, TABLE.replace("c.png", "linked/a.png")))


def test_numbers_of_classes_are_sorted_as_numbers(root: Path) -> None:
    save(root, *(f"{number}.png" for number in range(12)))
    rows = "".join(f"{number}.png,{number},train\n" for number in range(12))
    data = table(root, "file,label,part\n" + rows + "a.png,10,test\n")
    assert csv_file.class_names(data) == tuple(map(str, range(12)))
    assert csv_file.read(data, "test").labels.tolist() == [10]


def test_size_and_bad_images_are_settled_as_those_of_a_folder(root: Path) -> None:
    (root / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        csv_file.read(table(root), "train")
    data = table(root, skip_bad_images=True, image_size=8)
    with pytest.raises(DataError, match="the class 'dog' of the train part holds no image"):
        csv_file.read(data, "train")
    data = table(root, TABLE + "f.png,dog,train\n", skip_bad_images=True, image_size=8)
    save(root, "f.png")
    train = csv_file.read(data, "train")
    assert train.images.shape == (3, 8, 8, 3)
    assert train.labels.tolist() == [0, 0, 1]
    assert len(train.skipped) == 1
    assert csv_file.form(data) == ("RGB", (6, 5))


def patients(root: Path, count: int = 24, images: int = 5) -> Data:
    """Images of patients, each of them healthy in some and ill in others; the last are to test."""
    rows = ["file,label,patient,part"]
    names = [f"{patient}-{number}.png" for patient in range(count) for number in range(images)]
    for name in names:
        patient, number = name.removesuffix(".png").split("-")
        label = "ill" if (int(patient) + int(number)) % 3 == 0 else "healthy"
        rows.append(f"{name},{label},p{patient},{'test' if int(patient) >= count - 4 else 'train'}")
    save(root, *names)
    return table(root, "\n".join(rows), group_column="patient", calibration_samples=20)


def test_no_patient_is_in_two_splits(tmp_path: Path) -> None:
    data = patients(tmp_path)
    dataset = load_dataset(data)
    splits = (dataset.train, dataset.validation, dataset.calibration, dataset.test)
    owners = [set(split.images[:][:, 0, 0, 0] // 5) for split in splits]
    assert [len(split) for split in splits] == [70, 10, 20, 20]
    assert sum(map(len, owners)) == 24 == len(set.union(*owners))
    assert all(set(split.labels) == {0, 1} for split in splits)
    again = load_dataset(data).validation
    np.testing.assert_array_equal(dataset.validation.images[:], again.images[:])


def test_groups_that_leave_a_split_empty_are_refused_in_one_line(tmp_path: Path) -> None:
    data = patients(tmp_path, count=6, images=8).model_copy(update={"calibration_samples": 4})
    with pytest.raises(DataError) as caught:
        load_dataset(data)
    assert caught.value.message == (
        "data.group_column 'patient' has 2 groups of 8 to 8 training images, which leave none for "
        "validation if training is to keep every class"
    )


def test_a_group_in_both_parts_is_refused(tmp_path: Path) -> None:
    data = patients(tmp_path)
    file = Path(data.path or "")
    file.write_text(file.read_text().replace("p23,test", "p1,test"))
    with pytest.raises(DataError, match=r"1 of 23 groups in 'patient' are in both .* is 'p1'"):
        load_test_split(data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no row below the names of its columns"),
        ("file,label,part\n", "has no row below the names"),
        ("file;label;part\na.png;x;train\n", r"has one column, 'file;label;part', expected two"),
        ("file,label,label\na.png,x,train\n", "has two columns called 'label'"),
        ("file,label,part\na.png,train\n", "line 2: 2 cells, expected 3, one per column"),
        ("a.png,x,train\nb.png,y,test\n", r"begins with 'a\.png', which is a file, expected"),
        ("file,label\na.png,x\n", "has no column of train and test, expected one, or a second"),
        ("file,label,part,x\na.png,x,train,train\nb.png,x,test,test\n", "has two columns of train"),
        ("file,label,part\nz.png,x,train\ny.png,x,test\n", "no column names files that exist"),
        (TABLE.replace("label", "b").replace("dog", "b.png"), "the columns 'image', 'b' name"),
        (TABLE.replace("b.png,cat", "b.png,"), "line 3: nothing in the column 'label'"),
        (TABLE.replace("b.png,cat", "b.png,NaN"), "line 3: 'label' is 'NaN', expected the name"),
        (TABLE.replace("b.png,cat", "b.png,0.5"), r"line 3: 'label' is '0\.5', expected the name"),
        (TABLE.replace("b.png,cat", ",cat"), "line 3: nothing in the column 'image'"),
        (TABLE.replace("b.png,cat", "a.png,cat"), r"line 3: .*a\.png again, which .*line 2 has"),
        (TABLE.replace("c.png,dog", "a.png,dog"), r"line 4: .*a\.png again, which .*line 2 has"),
        (TABLE.replace("c.png,dog", "c.png,emu"), "line 4: the label 'emu', which no training"),
        (TABLE.replace("b.png,cat", "b.png,c\u202eat"), "line 3: the label .* control characters"),
        (TABLE.replace("b.png", '"b.png'), "cannot be read as a CSV file"),
        (TABLE.replace("b.png", "b\0.png"), "cannot be read as a CSV file .it holds NUL"),
    ],
)
def test_a_file_that_is_not_fit_is_refused_in_clear_words(
    root: Path, text: str, words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        csv_file.class_names(table(root, text))
    assert caught.value.message.isprintable()
    assert caught.value.hint


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"split_column": "label"}, "line 2: 'label' is 'dog', expected train or test"),
        ({"split_column": "Part"}, "has no column 'Part'; did you mean 'part'"),
        ({"label_column": "part"}, "has no column of train and test"),
        (
            {"file_column": "image", "label_column": "image"},
            "the column 'image' is file and label column, expected",
        ),
        ({"group_column": "patient"}, "has no column 'patient'; it has 'image', 'label', 'part'"),
        ({"group_column": "label"}, "are in no column"),
        ({"file_column": "files"}, "has no column 'files'"),
        ({"test_path": "no.csv"}, r"data\.test_path names 'no\.csv', but there is no such file"),
        ({"path": "https://host/list.csv"}, "expected a CSV file on this machine"),
    ],
)
def test_settings_that_do_not_suit_the_file_are_refused(
    root: Path, more: dict[str, str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        csv_file.class_names(table(root, **more))


def test_text_that_is_not_utf8_and_folders_are_refused(root: Path) -> None:
    data = table(root)
    (root / "list.csv").write_bytes("file,label\na.png,größe\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"cannot be read as a CSV file .*utf-8"):
        csv_file.class_names(data)
    with pytest.raises(DataError, match="is no file, expected a CSV file"):
        csv_file.class_names(data.model_copy(update={"path": str(root)}))


CELLS = st.lists(
    st.sampled_from(["a.png", "label", "train", "test", '"', "", ",", "\n", "\0", "é"])
)


@given(st.one_of(st.binary(max_size=60), CELLS.map(lambda cells: ",".join(cells).encode())))
def test_any_bytes_are_a_table_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(content)
    try:
        both = csv_parts.parts(Data(name="csv", path=str(file)))
    except DataError:
        return
    assert all(rows.files for rows in both.values())


def test_listed_images_are_those_of_both_files(root: Path) -> None:
    (root / "test.csv").write_text("image,label\nc.png,dog\n")
    data = table(root, "image,label\na.png,dog\nb.png,cat\n", test_path=str(root / "test.csv"))
    assert data.external_files() == [root / "list.csv", root / "test.csv"]
    assert data.listed_files() == {f"{each}.png": root / f"{each}.png" for each in "abc"}
    assert Data().listed_files() == {}
