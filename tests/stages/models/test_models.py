from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from stages import models
from stages.errors import ModelError, SettingsError
from stages.models import files, transfer
from stages.settings import Model
from stages.settings.networks import APPLICATIONS, NETWORKS
from tests.stages import networks
from tests.stages.networks import SHAPE

OWN = """
import keras

def build():
    image = keras.Input((12, 12, 3))
    return keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(image)))

def number():
    return 3

def without_input():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])

def for_any_size():
    image = keras.Input((None, None, 3), batch_size=2, name="pixels")
    return keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalMaxPooling2D()(image)))

class Own(keras.Model):
    def call(self, x):
        return x

def subclassed():
    return Own()

def wrapped():
    image = keras.Input((12, 12, 3))
    return keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(Own()(image))))

def in_half():
    keras.config.set_dtype_policy("mixed_float16")
    return keras.Sequential(
        [keras.Input((12, 12, 3)), keras.layers.Flatten(), keras.layers.Dense(4, name="große 4")])

def with_dropout_inside():
    inside = keras.Sequential(
        [keras.Input((12, 12, 3)), keras.layers.Flatten(), keras.layers.Dropout(0.0, name="inner")])
    image = keras.Input((12, 12, 3))
    x = keras.layers.Dropout(0.1, name="outer")(inside(image))
    return keras.Model(image, keras.layers.Dense(4)(x))

def fails():
    return {}["missing"]

def hidden():
    import importlib
    importlib.import_module("".join(["hid", "den"]))
    return build()
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "own_network", raising=False)


def outputs(name: str) -> tuple[int, ...]:
    return (32, 32, 10) if name in models.SEGMENTING else (10,)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_model_of_our_own_maps_images_to_logits(name):
    model = models.create(Model(name=name), (32, 32, 1), [outputs(name)])
    assert model.input_shape == (None, 32, 32, 1)
    assert model.output_shape == (None, *outputs(name))
    assert getattr(model.layers[-1], "activation", None) is keras.activations.linear


def test_the_mnist_cnn_is_the_network_that_its_name_promises():
    kinds = [type(layer).__name__ for layer in models.create(Model(), (28, 28, 1), 10).layers]
    weighted = [kind for kind in kinds if kind in ("Conv2D", "Dense")]
    assert weighted == ["Conv2D", "Conv2D", "Dense", "Dense"]
    assert kinds.count("BatchNormalization") == 3
    assert kinds.count("Dropout") == 1


def test_every_name_has_a_builder_and_every_builder_a_name():
    assert {*models.MODELS, *models.SEGMENTING, transfer.VGG} == {*NETWORKS, *APPLICATIONS}


def weighted(name: str, shape: tuple[int, int, int], **options: Any) -> list[int]:
    """Output channels of the convolutions and Dense layers."""
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    built = models.create(Model(name=name, **options), shape, 10).layers
    return [layer.output.shape[-1] for layer in built if isinstance(layer, kinds)]


def test_widths_are_those_that_the_literature_gives():
    assert weighted("lenet", (28, 28, 1)) == [6, 16, 120, 84, 10]
    assert weighted("three_block_cnn", (32, 32, 3)) == [64, 64, 128, 64, 10]
    # Table 1 of the ResNet paper counts the weighted layers of the main path.
    assert len(weighted("resnet8", (32, 32, 3))) == 8 + 2
    assert len(weighted("resnet20", (32, 32, 3))) == 20 + 2
    assert models.create(Model(name="resnet20"), (32, 32, 3), 10).count_params() > 0.27e6


def test_the_separable_network_has_little_but_depthwise_and_1x1_convolutions():
    model = models.create(Model(name="ds_cnn"), (32, 32, 3), 10)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel_size for layer in convolutions] == [(3, 3), *[(1, 1)] * 5]
    depthwise = [x for x in model.layers if isinstance(x, keras.layers.DepthwiseConv2D)]
    assert len(depthwise) == 5
    assert 50_000 < model.count_params() < 100_000


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_the_dropout_setting_replaces_the_networks_own_rate(rate):
    model = models.create(Model(name="mnist_cnn", dropout=rate), (28, 28, 1), 10)
    dropped = model.get_layer("dropout")(np.ones((100, 64), np.float32), training=True).numpy()
    assert np.mean(dropped == 0) == pytest.approx(rate, abs=0.03)


@pytest.mark.usefixtures("own_module")
def test_the_dropout_setting_is_for_nested_models_and_for_a_rate_of_0_too():
    model = models.create(Model(source="own_network:with_dropout_inside", dropout=0.5), SHAPE, 4)
    found = {each.name: each.rate for each in model._flatten_layers() if hasattr(each, "rate")}
    assert found == {"inner": 0.5, "outer": 0.5}
    inside = next(each for each in model.layers if isinstance(each, keras.Sequential))
    dropped = inside(np.ones((8, *SHAPE), np.float32), training=True).numpy()
    assert np.mean(dropped == 0) == pytest.approx(0.5, abs=0.05)


def test_dropout_for_a_network_without_it_is_refused():
    with pytest.raises(SettingsError, match=r"dropout is 0.5, but 'lenet' has no Dropout layer"):
        models.create(Model(name="lenet", dropout=0.5), (28, 28, 1), 10)


def test_weights_for_a_network_that_has_none_are_refused():
    with pytest.raises(SettingsError, match=r"with weights, model.name is 'lenet'"):
        models.create(Model(name="lenet", weights="imagenet"), (28, 28, 1), 10)


def kernels(model: keras.Model) -> set[tuple[int, int]]:
    return {layer.kernel_size for layer in model.layers if hasattr(layer, "kernel_size")}


def test_width_times_the_filters_and_leaves_dense_layers():
    assert weighted("lenet", (28, 28, 1), width=0.5) == [3, 8, 120, 84, 10]
    assert weighted("mnist_cnn", (28, 28, 1), width=2.0) == [64, 128, 64, 10]
    assert weighted("mnist_cnn", (28, 28, 1), width=0.001) == [1, 1, 64, 10]


@pytest.mark.parametrize("name", sorted({*NETWORKS} - {"resnet20"}))
def test_every_network_of_our_own_can_be_narrow_and_have_other_kernels(name):
    settings = Model(name=name, width=0.25, kernel=5)
    varied = models.create(settings, (32, 32, 3), [outputs(name)])
    assert varied.output_shape == (None, *outputs(name))
    # Of 1 pixel those that mix channels, of 2 those that double the size of what they see.
    assert kernels(varied) - {(1, 1), (2, 2)} == {(5, 5)}
    assert max(layer.filters for layer in varied.layers if hasattr(layer, "filters")) <= 128


def test_lenet_can_have_kernels_of_3_pixels():
    assert kernels(models.create(Model(name="lenet"), (28, 28, 1), 10)) == {(5, 5)}
    assert kernels(models.create(Model(name="lenet", kernel=3), (28, 28, 1), 10)) == {(3, 3)}


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(ModelError, match=r"mnist_cnn cannot be built with model\.kernel 25"):
        models.create(Model(name="mnist_cnn", kernel=25), (28, 28, 1), 10)


def test_the_users_file_is_taken(tmp_path):
    files.save(networks.NETWORKS["plain"](), tmp_path / "own.keras")
    model = models.create(Model(source=str(tmp_path / "own.keras")), SHAPE, 4)
    assert model.output_shape == (None, 4)


@pytest.mark.usefixtures("own_module")
def test_the_users_function_is_called():
    assert models.create(Model(source="own_network:build"), SHAPE, 4).output_shape == (None, 4)


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("own_network:missing", "cannot be imported"),
        ("no_such_network:build", "cannot be imported"),
        ("own_network:number", "returned a int, expected a keras.Model"),
    ],
)
def test_a_source_that_gives_no_model_is_refused(source, message):
    with pytest.raises(ModelError, match=message):
        models.create(Model(source=source), SHAPE, 4)


NAMESAKE = """
import keras
def build():
    image = keras.Input((12, 12, 3))
    return keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(image)))
"""


@pytest.mark.parametrize("name", ["stages", "pipeline", "stages/mine", "pipeline/nets/small"])
def test_a_users_module_called_as_one_of_our_packages_is_his(name, tmp_path, monkeypatch):
    file = (tmp_path / name).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(NAMESAKE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    settings = Model(source=f"{name.replace('/', '.')}:build")
    assert models.create(settings, SHAPE, 4).output_shape == (None, 4)
    assert [each.resolve() for each in settings.external_files()] == [file]


def test_a_module_of_ours_is_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        models.create(Model(source="stages.mine:build"), SHAPE, 4)
    assert caught.value.hint == "rename your package: pipeline and stages are names of ours"


@pytest.mark.usefixtures("own_module")
def test_a_model_for_other_images_or_classes_is_refused_with_both_shapes():
    with pytest.raises(ModelError, match=r"maps \(12, 12, 3\) to \(4,\).* needs \(28, 28, 1\)"):
        models.create(Model(source="own_network:build"), (28, 28, 1), 10)


def two_headed(tmp_path):
    image = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(image)
    heads = [keras.layers.Dense(4, name="kind")(flat), keras.layers.Dense(2, name="place")(flat)]
    files.save(keras.Model(image, heads), tmp_path / "two.keras")
    return Model(source=str(tmp_path / "two.keras"))


SHAPES = {"place": [(2,)], "kind": [(4,)]}


def test_outputs_are_compared_with_labels_by_name(tmp_path):
    assert models.create(two_headed(tmp_path), SHAPE, SHAPES).output_names == ["kind", "place"]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (4, "has the outputs kind, place, but the labels are of one"),
        ({"kind": [(4,)]}, "has the outputs kind, place, the labels are of kind"),
        (SHAPES | {"kind": [(3,)]}, r"output 'kind', maps .* to \(4,\), the data set needs"),
    ],
)
def test_outputs_without_labels_or_of_another_shape_are_refused(tmp_path, shapes, words):
    with pytest.raises(ModelError, match=words):
        models.create(two_headed(tmp_path), SHAPE, shapes)


def test_outputs_may_be_without_labels_where_a_metric_judges_them(tmp_path):
    settings = two_headed(tmp_path)
    model = models.create(settings, SHAPE, {"objects": []}, has_unlabelled=True)
    assert len(model.outputs) == 2


@pytest.mark.parametrize("settings", [Model(name="lenet"), Model(source="x.keras", head="average")])
def test_what_is_raw_is_the_networks_own(settings):
    with pytest.raises(SettingsError, match=r"model\.task is 'raw'"):
        models.create(settings, SHAPE, ())


@pytest.mark.parametrize("options", [{"name": "lenet"}, {"head": "average"}])
def test_a_network_of_ours_has_one_output(tmp_path, options):
    settings = two_headed(tmp_path).model_copy(update=options)
    settings = settings.model_copy(update={"source": None}) if "name" in options else settings
    with pytest.raises(SettingsError, match=r"has one output|model\.head is one output"):
        models.create(settings, SHAPE, SHAPES)


@pytest.mark.usefixtures("own_module")
def test_a_subclassed_model_is_refused_with_what_to_do():
    with pytest.raises(ModelError, match="is a subclassed Own") as caught:
        models.create(Model(source="own_network:subclassed"), SHAPE, 4)
    assert "functional API" in caught.value.hint


@pytest.mark.usefixtures("own_module")
def test_a_subclassed_model_inside_another_is_refused_before_any_training():
    with pytest.raises(ModelError, match="subclassed Own: its layers cannot be read"):
        models.create(Model(source="own_network:wrapped"), SHAPE, 4)


@pytest.mark.usefixtures("own_module")
def test_another_precision_is_the_users_models_alone_and_becomes_float32():
    model = models.create(Model(source="own_network:in_half"), SHAPE, 4)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert model.layers[-1].name == "grosse_4"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.usefixtures("own_module")
def test_a_sequential_model_without_an_input_gets_the_data_sets():
    model = models.create(Model(source="own_network:without_input"), SHAPE, 4)
    assert model.input_shape == (None, *SHAPE)


@pytest.mark.usefixtures("own_module")
def test_a_model_for_any_size_gets_the_data_sets():
    model = models.create(Model(source="own_network:for_any_size"), SHAPE, 4)
    assert model.input_shape == (None, *SHAPE)
    assert model.inputs[0].name == "pixels"


@pytest.mark.usefixtures("own_module")
def test_an_error_in_the_users_function_is_his_and_named():
    with pytest.raises(ModelError, match=r"own_network:fails' raised KeyError: 'missing'"):
        models.create(Model(source="own_network:fails"), SHAPE, 4)


@pytest.mark.usefixtures("own_module")
def test_a_module_that_is_not_imported_by_name_is_warned_of(tmp_path, caplog):
    (tmp_path / "hidden.py").write_text("")
    with caplog.at_level("INFO", "stages"):
        models.create(Model(source="own_network:hidden"), SHAPE, 4)
    assert "a change of hidden will not make the training stale" in caplog.text


def test_a_network_of_another_rank_says_what_kind_its_data_are(tmp_path: Path) -> None:
    signal = keras.Input((64, 1))
    keras.Model(signal, keras.layers.Dense(4)(keras.layers.Flatten()(signal))).save(
        tmp_path / "own.keras"
    )
    with pytest.raises(ModelError, match=r"maps \(64, 1\) to") as caught:
        models.create(Model(source=str(tmp_path / "own.keras")), (8, 64, 1), 4)
    assert caught.value.hint == "if the data are signals: --set data.kind=signals"
    with pytest.raises(SettingsError, match=r"a network of images .* has the shape \(64, 1\)"):
        models.create(Model(name="lenet"), (64, 1), 4)


def test_an_output_of_integers_is_refused(tmp_path):
    image = keras.Input(SHAPE)
    counted = keras.ops.cast(keras.layers.Dense(4)(keras.layers.Flatten()(image)), "int32")
    files.save(keras.Model(image, counted), tmp_path / "whole.keras")
    with pytest.raises(ModelError, match="returns int32, expected floating-point numbers"):
        models.create(Model(source=str(tmp_path / "whole.keras")), SHAPE, 4)


def test_an_input_of_pixels_in_integers_becomes_float32_so_that_scaled_ones_are_no_zeros(tmp_path):
    image = keras.Input(SHAPE, name="image", dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(2.0)(image))
    model = keras.Model(image, keras.layers.Dense(4)(flat))
    files.save(model, tmp_path / "own.keras")
    found = models.create(Model(source=str(tmp_path / "own.keras")), SHAPE, 4)
    assert found.inputs[0].dtype == "float32"
    pixels = np.random.default_rng(0).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    scaled = pixels.astype(np.float32) / 256
    np.testing.assert_allclose(found(pixels.astype(np.float32)), model(pixels), rtol=1e-5)
    kernel, bias = (each.numpy() for each in model.layers[-1].weights)
    np.testing.assert_allclose(
        found(scaled), 2 * scaled.reshape(3, -1) @ kernel + bias, rtol=1e-4, atol=1e-5
    )
