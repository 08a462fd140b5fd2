from __future__ import annotations

import os
from pathlib import Path

import pytest
from children import call

from pipeline import config
from pipeline.checks.first_settings import describe, refuse_others, settings_of, to_toml
from pipeline.core import runner
from stages.errors import SettingsError
from stages.results.asides import Findings, FoundInput, FoundOutput
from stages.results.training import DatasetCounts
from stages.settings import Settings

TRAINED = Findings(
    input_shape=(96, 96, 3),
    classes=("cat", "dog"),
    dataset=DatasetCounts(
        train_samples=1000, validation_samples=120, calibration_samples=60, test_samples=200
    ),
    network="mnist_cnn",
    parameters=12345,
    output="probabilities",
    own_scaling=("rescaling",),
    image_size=96,
    calibration_samples=60,
    scale=1.0,
    offset=0.0,
    hits=117,
    samples=120,
    is_trained=True,
)
GIVEN = ['data.name="folder"', 'data.path="photos"', 'model.source="network.keras"']


def written(found: Findings, *given: str) -> str:
    return to_toml(describe(found, config.load(None, given)), "pipeline init")


def read(text: str, folder: Path) -> Settings:
    (folder / "settings.toml").write_text(text)
    return config.load(folder / "settings.toml")


def test_the_file_holds_the_settings_that_were_found(tmp_path: Path) -> None:
    settings = read(written(TRAINED, *GIVEN), tmp_path)
    assert settings == config.load(
        None,
        [
            *GIVEN,
            *("data.image_size=96", "data.calibration_samples=60"),
            *("data.scale=1.0", "data.offset=0", "train.epochs=0"),
        ],
    )


def test_its_comments_say_what_was_found(tmp_path: Path) -> None:
    text = " ".join(written(TRAINED, *GIVEN).replace("\n#", " ").split())
    for sentence in (
        "2 classes (cat, dog), images of 96 x 96 x 3, 1,000 to train, 120 to validate",
        "fewer than the usual 128, for there are few images",
        "the model sees pixels with scale 1, for the model scales its own pixels (rescaling): "
        "97.5 % of 120 validation images are right so",
        "network.keras takes 96 x 96 x 3, returns 2 probabilities, 12,345 parameters",
        "the model is trained, and taken as it is",
    ):
        assert sentence in text


def test_a_model_that_knows_nothing_is_said_to_be_trained_first(tmp_path: Path) -> None:
    found = TRAINED.model_copy(update={"is_trained": False, "hits": 61})
    text = written(found, *GIVEN)
    assert read(text, tmp_path).train.epochs == 24
    assert "50.8 % of 120 validation images are right, no more than luck explains" in text


def test_what_is_often_changed_is_there_to_be_uncommented(tmp_path: Path) -> None:
    lines = written(TRAINED, *GIVEN).splitlines()
    changed = [line.removeprefix("# ") if " = " in line else line for line in lines]
    settings = read("\n".join(changed), tmp_path)
    assert settings.gates.max_accuracy_drop == 1.0
    assert settings.prune == Settings().prune


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ([], []),
        (["network.keras"], ['model.source="network.keras"']),
        (["nets:build"], ['model.source="nets:build"']),
        (["lenet", "mnist"], ['model.name="lenet"', 'data.name="mnist"']),
        (["cifar10", "old.h5"], ['data.name="cifar10"', 'model.source="old.h5"']),
        (
            ["https://host/a.npz"],
            ['data.name="npz"', 'data.path="https://host/a.npz"'],
        ),
        (["."], ['data.name="folder"', 'data.path="."']),
        ([__file__], ['data.name="npz"', f'data.path="{__file__}"']),
    ],
)
def test_a_word_is_a_model_or_a_data_set(words: list[str], settings: list[str]) -> None:
    assert settings_of(words) == settings


def test_a_csv_keeps_the_columns_that_were_given(tmp_path: Path) -> None:
    (tmp_path / "list.CSV").touch()
    words = settings_of([str(tmp_path / "list.CSV")])
    assert words == ['data.name="csv"', f'data.path="{tmp_path}/list.CSV"']
    columns = ["data.group_column=patient", "data.split_column=part"]
    refuse_others(columns)
    data = read(written(TRAINED, *words, *columns), tmp_path).data
    assert (data.group_column, data.split_column, data.label_column) == ("patient", "part", None)


def test_a_csv_of_numbers_keeps_its_columns_and_its_values_are_no_classes(tmp_path: Path) -> None:
    (tmp_path / "list.csv").touch()
    columns = ['data.target_columns=["age", "weight"]']
    refuse_others(columns)
    found = TRAINED.model_copy(update={"task": "regression", "classes": ("age", "weight")})
    text = written(found, *settings_of([str(tmp_path / "list.csv")]), *columns)
    assert read(text, tmp_path).data.target_columns == ("age", "weight")
    assert "# 2 values (age, weight), images of" in text


def test_a_folder_of_images_and_masks_is_one_of_masks(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert settings_of([str(tmp_path)]) == ['data.name="masks"', f'data.path="{tmp_path}"']
    (tmp_path / "train" / "images").rename(tmp_path / "train" / "cat")
    assert settings_of([str(tmp_path)])[0] == 'data.name="folder"'


def test_a_function_of_images_is_kept_with_its_version(tmp_path: Path) -> None:
    given = ["data.source=own:images", "data.version=may"]
    refuse_others(given)
    text = written(TRAINED, *given)
    data = read(text, tmp_path).data
    assert (data.name, data.source, data.version) == ("source", "own:images", "may")


def test_what_init_finds_itself_cannot_be_set() -> None:
    with pytest.raises(SettingsError, match=r"init got --set 'data\.scale', expected one of name"):
        refuse_others(["data.scale=1"])


def test_a_word_that_is_neither_is_refused_with_what_is_expected() -> None:
    with pytest.raises(SettingsError, match=r"'phots' is no file or folder, no data set") as caught:
        settings_of(["phots"])
    assert "folder of images" in caught.value.hint


def test_two_of_one_kind_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"'a\.keras' and 'b\.keras' are both a model"):
        settings_of(["a.keras", "mnist", "b.keras"])


def test_packages_that_are_missing_are_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TRAINING", ("nowhere_to_be_found",))
    monkeypatch.chdir(tmp_path)
    result = call("init")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: init: the package nowhere_to_be_found is not installed\n"
        "hint: pip install nowhere_to_be_found\n"
    )
    assert not (tmp_path / "pipeline.toml").exists()


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_that_is_there_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_link: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if is_link:
        os.symlink("elsewhere.toml", "pipeline.toml")
    else:
        Path("pipeline.toml").write_text("[train]\nepochs = 3\n")
    result = call("init")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: pipeline.toml is there already, and nothing is overwr")
    assert is_link or Path("pipeline.toml").read_text() == "[train]\nepochs = 3\n"
    assert not Path("elsewhere.toml").exists()


TWO_HEADED = TRAINED.model_copy(
    update={
        "classes": (),
        "task": "several",
        "hits": None,
        "score": 0.83,
        "outputs": (
            FoundOutput(name="kind", task="classification", classes=("a", "b"), output="logits"),
            FoundOutput(name="boxes", task="raw", classes=(), output="values"),
        ),
    }
)


def test_several_outputs_are_named_with_what_they_are_asked() -> None:
    text = " ".join(written(TWO_HEADED, *GIVEN).replace("\n#", " ").split())
    assert "outputs kind (2 classes), boxes (raw), images of 96 x 96 x 3" in text
    assert "returns kind (logits), boxes (values), 12,345 parameters" in text
    assert "mean over the outputs is 83.0 % on 120 validation images" in text


def test_what_is_asked_is_kept(tmp_path: Path) -> None:
    asked = ['model.tasks={kind = "binary"}', "quality.metric=own:share", "model.trust_source=true"]
    with pytest.raises(SettingsError, match=r"init got --set 'model\.trust_source'"):
        refuse_others(asked)
    refuse_others(asked[:2])
    settings = read(written(TWO_HEADED, *GIVEN, *asked[:2]), tmp_path)
    assert settings.model.tasks == {"kind": "binary"}
    assert settings.quality.metric == "own:share"


def test_a_metric_of_ones_own_is_named() -> None:
    found = TWO_HEADED.model_copy(update={"metric": "own a:share"})
    text = " ".join(written(found, *GIVEN).replace("\n#", " ").split())
    assert "a:share is 83.0 % on 120 validation images" in text


def test_several_inputs_are_named_with_their_shapes() -> None:
    camera = FoundInput(name="camera", shape=(8, 8, 1), dtype="uint8")
    table = FoundInput(name="table", shape=(4,), dtype="float32")
    found = TRAINED.model_copy(update={"input_shape": (), "inputs": (camera, table)})
    text = " ".join(written(found, *GIVEN).replace("\n#", " ").split())
    assert "(cat, dog), inputs camera (8 x 8 x 1 uint8), table (4 float32), 1,000 to" in text
    assert "network.keras takes camera (8 x 8 x 1 uint8), table (4 float32), returns 2" in text
    assert "scale = 1.0" in text
    numbers = found.model_copy(update={"inputs": (table, table)})
    assert "scale" not in written(numbers, *GIVEN)
