from __future__ import annotations

import pytest
from pydantic import ValidationError

from stages import settings
from stages.settings import (
    BenchmarkStage,
    Data,
    Model,
    PruneStage,
    Section,
    Settings,
    StageSettings,
    TrainStage,
)
from stages.settings.meaning import meanings

CONTRACT = {
    "data": {"name", "path", "test_samples"},
    "model": {"name", "source"},
    "train": {"epochs", "batch_size", "seed"},
    "prune": {"ratio"},
    "quantize": {"calibration", "epochs"},
    "build": {"backends", "precisions"},
    "benchmark": {"batch_sizes", "threads"},
    "gates": {"max_accuracy_drop"},
}


def test_the_keys_that_users_rely_on_are_there():
    schema = Settings().model_dump()
    for section, keys in CONTRACT.items():
        assert keys <= schema[section].keys()


@pytest.mark.parametrize("section", Settings.model_fields)
def test_every_setting_says_what_it_is_for(section):
    kind = type(getattr(Settings(), section))
    texts = meanings(kind)
    assert texts.keys() == kind.model_fields.keys()
    assert all(texts.values())


def test_settings_cannot_be_changed_once_made():
    with pytest.raises(ValidationError):
        Settings().train.epochs = 3


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (settings.Prune, "ratio", 1.0),
        (settings.Prune, "ratio", -0.1),
        (settings.Prune, "target_latency_ratio", 0.0),
        (settings.Prune, "target_latency_ratio", 1.0),
        (settings.Prune, "max_accuracy_drop", -1.0),
        (settings.Prune, "criterion", "l0"),
        (settings.Prune, "method", "1:2"),
        (settings.Prune, "channel_multiple", 0),
        (settings.Prune, "rounds", 0),
        (settings.Prune, "block", (0, 1)),
        (settings.Prune, "target", "onnxruntime.int4"),
        (settings.Prune, "target", "openvinno.fp32"),
        (settings.Train, "epochs", -1),
        (settings.Train, "batch_size", 0),
        (settings.Benchmark, "batch_sizes", ()),
        (settings.Benchmark, "threads", (0,)),
        (settings.Build, "backends", ("openvinno",)),
        (settings.Build, "batch_sizes", (0,)),
        (settings.Build, "precisions", ("int8", "fp32", "int8")),
        (settings.Benchmark, "threads", (1, 1)),
        (settings.TensorRT, "optimization_level", 6),
        (settings.TensorRT, "compute_capabilities", ("8.7",)),
        (settings.Quantize, "calibration", "random"),
        (settings.Train, "epoch", 3),
        (settings.Data, "sha256", "abc"),
        (settings.Data, "rotate_degrees", 181.0),
        (settings.Data, "shear_degrees", -1.0),
        (settings.Data, "zoom", 1.0),
        (settings.Data, "contrast", 1.0),
        (settings.Data, "kind", "signals"),
        (settings.Data, "max_download_mib", 0),
        (settings.Model, "dropout", 1.0),
    ],
)
def test_a_value_out_of_range_or_an_unknown_key_is_refused(section, key, value):
    with pytest.raises(ValidationError):
        section(**{key: value})


@pytest.mark.parametrize("setting", ["target_latency_ratio", "max_accuracy_drop"])
@pytest.mark.parametrize("method", ["2:4", "magnitude"])
def test_a_latency_target_is_for_channels_only(method, setting):
    with pytest.raises(ValidationError, match=f"none, for prune.method is '{method}'"):
        settings.Prune(method=method, **{setting: 0.5})
    assert getattr(settings.Prune(**{setting: 0.5}), setting) == 0.5


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"method": "2:4"}, "none, for prune.method is '2:4'"),
        ({"target_latency_ratio": 0.5}, "none, for prune.widths says what is left"),
        ({"max_accuracy_drop": 1.0}, "none, for prune.widths says what is left"),
        ({"rounds": 2}, "1, for prune.widths is reached in one round"),
    ],
)
def test_widths_that_are_named_leave_nothing_to_decide(others, message):
    with pytest.raises(ValidationError, match=message):
        settings.Prune(widths={"conv1": 8}, **others)
    assert settings.Prune(widths={"conv1": 8}).widths == {"conv1": 8}


def test_a_stage_sees_its_own_sections_and_no_other():
    whole = Settings(prune=settings.Prune(ratio=0.25))
    seen = PruneStage.of(whole)
    assert seen.prune.ratio == 0.25
    assert seen.to_json().keys() == {"data", "model", "prune"}


def test_pruning_sees_how_engines_are_built_only_where_tensorrt_builds_some():
    build = settings.Build(max_batch_size=8, batch_sizes=(2,), threads=(1,))
    whole = Settings(
        prune=settings.Prune(target="tensorrt.fp16", target_latency_ratio=0.5),
        build=build,
        tensorrt=settings.TensorRT(timing_cache="t.timing"),
    )
    seen = PruneStage.of(whole)
    assert (seen.build.max_batch_size, seen.build.batch_sizes) == (8, (2,))
    assert seen.build.threads == settings.Build().threads  # no other can make the stage stale
    assert [str(file) for file in seen.external_files()] == ["t.timing"]
    assert PruneStage.model_validate(seen.to_json()) == seen
    for other in ({"target": "tensorrt.fp16"}, {"target_latency_ratio": 0.5}):
        plain = PruneStage.of(whole.model_copy(update={"prune": settings.Prune(**other)}))
        assert plain.to_json().keys() == {"data", "model", "prune"}


def test_every_stages_sections_are_sections_of_the_whole():
    for stage in StageSettings.__subclasses__():
        for name, field in stage.model_fields.items():
            kind = type(getattr(Settings(), name))
            assert issubclass(kind, Section)
            default = field.get_default(call_default_factory=True)
            if default is None:
                assert field.annotation == kind | None
            else:
                assert kind is field.annotation is type(default)


def test_a_benchmark_on_carried_images_sees_no_data_set_and_asks_for_no_file():
    whole = Settings(
        data=Data(name="npz", path="d.npz"), benchmark=settings.Benchmark(images="carried")
    )
    carried, test = BenchmarkStage.of(whole), BenchmarkStage.of(Settings(data=whole.data))
    assert carried.to_json().keys() == {"gpu", "benchmark"}
    assert carried.external_files() == []
    assert BenchmarkStage.model_validate(carried.to_json()) == carried
    assert test.data == whole.data
    assert [str(file) for file in test.external_files()] == ["d.npz"]


@pytest.mark.parametrize(
    "setting", [{"flip": True}, {"shift_pixels": 2}, {"rotate_degrees": 5.0}, {"contrast": 0.1}]
)
def test_signals_are_not_augmented(setting):
    assert settings.Data(name="npz", kind="signals", shift_pixels=0).shifts == 0
    with pytest.raises(ValidationError, match=r"the default, for data\.kind is 'signals'"):
        settings.Data(name="npz", kind="signals", **setting)


def test_files_outside_the_artifacts_are_named():
    stage = TrainStage(data=Data(name="npz", path="d.npz"), model=Model(source="m.keras"))
    assert [str(file) for file in stage.external_files()] == ["d.npz", "m.keras"]
    assert BenchmarkStage().external_files() == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": "own:images", "name": "npz"}, "none, for data.name is 'npz'"),
        ({"source": "own:images", "path": "a.npz"}, "none, for data.path is 'a.npz'"),
        ({"version": "2"}, "none, for data.name is 'digits'"),
        ({"source": "images.py"}, "module:function"),
        ({"name": "folder", "group_column": "patient"}, "none, for data.name is 'folder'"),
        ({"name": "npz", "test_path": "a.csv"}, "none, for data.name is 'npz'"),
        ({"name": "npz", "target_columns": ["a"]}, "none, for data.name is 'npz'"),
        ({"name": "masks", "mask_column": "a"}, "none, for data.name is 'masks'"),
    ],
)
def test_a_setting_of_another_data_set_is_refused_where_it_would_not_be_read(given, words):
    with pytest.raises(ValidationError, match=words):
        Data(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"label_column": "a", "target_columns": ["b"]}, "none, for data.label_column is set"),
        ({"label_column": "a", "mask_column": "b"}, "none, for data.label_column is set"),
        ({"target_columns": ["a"], "mask_column": "b"}, "none, for data.target_columns is set"),
        ({"target_columns": ["a", "a"]}, "every value once"),
        ({"target_columns": [""]}, "at least 1 character"),
    ],
)
def test_one_setting_of_a_csv_says_what_is_right_of_an_image(given, words):
    with pytest.raises(ValidationError, match=words):
        Data(name="csv", **given)


def test_a_function_of_images_needs_no_name_of_a_data_set():
    data = Data(source="own:images")
    assert data.name == "source"
    assert Data.model_validate(data.model_dump(mode="json")) == data
    assert Data(source=None).name == "digits"


def test_the_home_folder_is_expanded_wherever_a_file_is_named(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    data, model = Data(path="~/d.npz"), Model(source="~/m.keras", weights="~/w.h5")
    cache = settings.TensorRT(timing_cache="~/t.timing")
    assert data.path == "/home/me/d.npz"
    files = [*data.external_files(), *model.external_files(), *cache.external_files()]
    assert {str(file.parent) for file in files} == {"/home/me"}
    assert len(files) == 4
