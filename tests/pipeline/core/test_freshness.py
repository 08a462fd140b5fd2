from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.core import received
from pipeline.core.freshness import State, assess_all, differences, identify
from pipeline.core.hashing import key_of
from pipeline.core.plan import PLAN, find
from pipeline.core.record import Identity, Record, write
from pipeline.core.store import Store
from stages.errors import ArtifactError, DataError
from stages.results.base import StageResult
from stages.settings import Data, Prune, Settings, TrainStage
from stages.settings.data import OF_CSV

BEFORE: dict[str, Any] = {
    "stage": "train",
    "revision": 1,
    "settings": {
        "prune": {"ratio": 0.5},
        "data": {"path": None},
        "build": {"precisions": ["int8"]},
    },
    "external": {"data.npz": "a"},
    "inputs": {"train": {"model.keras": "a"}},
    "environment": {"gpu": {"driver": "550"}, "python": "3.11.7"},
}

SEEN_BY_TRAIN = [
    (section, knob)
    for section, part in TrainStage()
    for knob in type(part).model_fields
    if (section, knob) not in {("data", "path"), ("model", "source")}
    if (section, knob) not in {("data", "source"), ("data", "version"), ("data", "kind")}
    if knob not in OF_CSV
]
"""All settings of the stage but its files, whose content is in the key as well, what describes such
a file, and what needs one of arrays."""


SHA256 = "0" * 64


def with_another(section: str, knob: str) -> Settings:
    """The default settings with another valid value of one knob."""
    words = (
        "imagenet",
        "mnist",
        "lenet",
        "average",
        "percentile",
        "sgd",
        "step",
        "balanced",
        "cpu",
        "bfloat16",
        "binary",
        "module:function",
        SHA256,
    )
    for value in (1, 2, 0.25, *words, True, False, {"output": "binary"}):
        with contextlib.suppress(ValidationError):
            other = Settings.model_validate({section: {knob: value}})
            if other != Settings():
                return other
    raise LookupError(f"no other value of {section}.{knob} is known here")


def changed(**fields: Any) -> dict[str, Any]:
    return {**BEFORE, **fields}


@pytest.mark.parametrize(
    ("after", "reasons"),
    [
        (changed(), ()),
        (changed(revision=2), ("revision 1 -> 2",)),
        (
            changed(settings={**BEFORE["settings"], "prune": {"ratio": 0.3}}),
            ("prune.ratio 0.5 -> 0.3",),
        ),
        (
            changed(settings={**BEFORE["settings"], "data": {"path": "x.npz", "seed": 1}}),
            ('data.path none -> "x.npz"', "data.seed none -> 1"),
        ),
        (changed(external={"data.npz": "b"}), ("data.npz changed",)),
        (changed(inputs={"train": {"model.keras": "b"}}), ("train changed",)),
        (
            changed(environment={"gpu": {"driver": "560"}, "python": "3.11.7"}),
            ('environment: gpu.driver "550" -> "560"',),
        ),
        (changed(environment={}), ()),
    ],
)
def test_a_difference_is_told_in_words(after: dict[str, Any], reasons: tuple[str, ...]) -> None:
    record = Record(
        **BEFORE, key="k", started_at="", seconds=1.0, files={}, measurements=StageResult()
    )
    assert differences(record, Identity(**after)) == reasons


def test_a_summary_counts_the_reasons_that_it_leaves_out() -> None:
    assert State("stale", ("a", "b", "c")).summary == "a, b, c"
    assert State("stale", ("a", "b", "c", "d", "e")).summary == "a, b, c and 2 more"


def key(stage: str, of: Settings, store: Store, **environment: Any) -> str:
    return identify(find(PLAN, stage), of, store, environment).compute_key()


@pytest.mark.parametrize(("section", "knob"), SEEN_BY_TRAIN)
def test_every_setting_that_train_sees_changes_its_key(
    section: str, knob: str, tmp_path: Path
) -> None:
    other, store = with_another(section, knob), Store(tmp_path)
    assert key("train", other, store) != key("train", Settings(), store)


def test_the_kind_of_arrays_changes_the_key(tmp_path: Path) -> None:
    file = tmp_path / "arrays.npz"
    file.write_bytes(b"arrays")
    one, other = (
        Settings(data=Data(name="npz", path=str(file), kind=kind)) for kind in ("images", "signals")
    )
    assert key("train", one, Store(tmp_path)) != key("train", other, Store(tmp_path))


@pytest.mark.parametrize("knob", OF_CSV)
def test_every_setting_of_a_csv_changes_the_key(knob: str, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("file,label\nlist.csv,x\n")
    data = Data(name="csv", path=str(file))
    values = {"test_path": str(file), "file_column": "file", "target_columns": ("label",)}
    other = data.model_copy(update={knob: values.get(knob, "label")})
    keys = {key("train", Settings(data=each), Store(tmp_path)) for each in (data, other)}
    assert len(keys) == 2


def test_a_function_its_module_and_its_version_change_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "own_images_here.py"
    file.write_text("def load(part): ...")
    keys = []
    for data in (
        Data(source="own_images_here:load"),
        Data(source="own_images_here:load", version="2"),
        Data(source="own_images_here:other"),
    ):
        keys.append(key("train", Settings(data=data), Store(tmp_path / "a")))
    file.write_text("def load(part): return part")
    keys.append(key("train", Settings(data=data), Store(tmp_path / "a")))
    assert len(set(keys)) == 4


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 0.9), st.floats(0, 0.9))
def test_two_ratios_have_one_key_only_if_they_are_equal(one: float, other: float) -> None:
    keys = {key_of(Prune(ratio=ratio).model_dump(mode="json")) for ratio in (one, other)}
    assert (len(keys) == 1) == (repr(one) == repr(other))


def test_a_setting_that_a_stage_does_not_see_leaves_its_key(tmp_path: Path) -> None:
    other = Settings.model_validate({"prune": {"ratio": 0.25}, "gates": {"max_accuracy_drop": 1}})
    assert key("train", other, Store(tmp_path)) == key("train", Settings(), Store(tmp_path))


def test_the_environment_of_train_leaves_its_key(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert key("train", Settings(), store, gpu=1) == key("train", Settings(), store, gpu=2)


def test_a_changed_file_of_the_user_changes_the_key(tmp_path: Path) -> None:
    file = tmp_path / "digits.npz"
    of = Settings(data=Data(name="npz", path=str(file)))
    file.write_bytes(b"one")
    before = key("train", of, Store(tmp_path / "a"))
    file.write_bytes(b"two")
    assert key("train", of, Store(tmp_path / "a")) != before


def test_a_changed_image_that_a_csv_lists_changes_the_key(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,label,part\na.png,x,train\nb.png,y,test\n")
    for name in ("a.png", "b.png", "other.png"):
        (tmp_path / name).write_bytes(b"one")
    data = Data(name="csv", path=str(tmp_path / "list.csv"))
    for by_content in (False, True):
        of = Settings(data=data.model_copy(update={"hash_contents": by_content}))
        before = identify(find(PLAN, "train"), of, Store(tmp_path / "a"), {})
        (tmp_path / "other.png").write_bytes(b"is not listed")
        assert identify(find(PLAN, "train"), of, Store(tmp_path / "a"), {}) == before
        (tmp_path / "b.png").write_bytes(b"another length" * (1 + by_content))
        after = identify(find(PLAN, "train"), of, Store(tmp_path / "a"), {})
        old, new = (set(each.external.items()) for each in (before, after))
        assert {name for name, _ in old ^ new} == {"a listed image"}


def test_a_missing_file_of_the_user_is_named(tmp_path: Path) -> None:
    of = Settings(data=Data(name="npz", path="no/such.npz"))
    with pytest.raises(DataError, match=r"cannot read 'no/such\.npz': No such file") as caught:
        identify(find(PLAN, "train"), of, Store(tmp_path), {})
    assert "current folder" in caught.value.hint


def test_a_missing_input_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="prune needs the artifact of train") as caught:
        identify(find(PLAN, "prune"), Settings(), Store(tmp_path), {})
    assert "pipeline run train" in caught.value.hint


def put(store: Store, *stages: str) -> None:
    """Artifacts of these stages, with the keys of another machine."""
    results = {stage.name: stage.result for stage in PLAN}
    for name in stages:
        with store.writing(name) as folder:
            (folder / "model").write_text(name)
            record = Record(
                **{**BEFORE, "stage": name, "inputs": {}}, key="k", started_at="", seconds=1.0,
                files=store.list_files(folder), measurements=results[name](),
            )  # fmt: skip
            write(record, folder)


@pytest.mark.parametrize(
    ("here", "state"),
    [
        (("convert",), "received"),
        (("convert", "build"), "received"),
        # A single artifact that is gone was not copied anywhere: a run makes it again.
        (("prune", "quantize", "convert"), "stale"),
        (("quantize", "convert"), "stale"),
        (("train", "convert"), "stale"),
    ],
)
def test_convert_was_received_if_nothing_that_it_stands_on_is_here(
    here: tuple[str, ...], state: str, tmp_path: Path
) -> None:
    put(Store(tmp_path), *here)
    states = assess_all(PLAN, Settings(), Store(tmp_path), {})
    assert states["convert"].name == state
    assert states["train"].name == ("stale" if "train" in here else "missing")


def test_what_is_not_made_into_engines_is_never_received(tmp_path: Path) -> None:
    for name in ("prune", "quantize", "benchmark"):
        put(Store(tmp_path / name), name)
        assert assess_all(PLAN, Settings(), Store(tmp_path / name), {})[name].name == "stale"


def test_a_received_artifact_whose_files_changed_is_damaged(tmp_path: Path) -> None:
    put(Store(tmp_path), "convert")
    (tmp_path / "convert" / "model").write_text("other")
    state = assess_all(PLAN, Settings(), Store(tmp_path), {})["convert"]
    assert state.name == "damaged"
    assert "model" in state.summary


@pytest.mark.parametrize(("here", "images"), [((), "test"), (("convert",), "carried")])
@pytest.mark.parametrize("wanted", ["auto", "test", "carried"])
def test_the_images_of_the_benchmark_are_as_set_or_follow_from_where_the_line_starts(
    here: tuple[str, ...], images: str, wanted: str, tmp_path: Path
) -> None:
    put(Store(tmp_path), *here)
    settings = Settings.model_validate({"benchmark": {"images": wanted}})
    settled = received.settle(settings, received.find(PLAN, Store(tmp_path)))
    assert settled.benchmark.images == (images if wanted == "auto" else wanted)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    of = Settings(data=Data(name="npz", path="no/such.npz"))
    states = assess_all(PLAN, of, Store(tmp_path), {})
    assert {state.name for state in states.values()} == {"missing"}
    assert not any(tmp_path.iterdir())
