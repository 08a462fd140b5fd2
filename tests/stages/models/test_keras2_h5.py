"""Files as Keras 2 wrote them: the descriptions are copied from its own, the weights are random."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from stages.errors import ModelError
from stages.models import files
from stages.models.keras2_h5 import translated

CONVOLUTION = {
    "kernel_size": [3, 3],
    "strides": [1, 1],
    "padding": "same",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "groups": 1,
    "activation": "linear",
    "activity_regularizer": None,
    "bias_regularizer": None,
    "bias_constraint": None,
    "bias_initializer": {"class_name": "Zeros", "config": {}},
}
INITIALIZER = {"class_name": "GlorotUniform", "config": {"seed": None}}
CONV = {"filters": 4, "use_bias": True, "kernel_initializer": INITIALIZER, **CONVOLUTION}
DEPTHWISE = {"use_bias": False, "depth_multiplier": 1, **CONVOLUTION}
NORM = {"axis": [3], "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True}
IMAGE = {"batch_input_shape": [None, 12, 12, 3], "dtype": "float32", "sparse": False}

WEIGHTS = {
    "conv": {"kernel": (3, 3, 3, 4), "bias": (4,)},
    "norm": dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (4,)),
    "depthwise": {"depthwise_kernel": (3, 3, 4, 1)},
    "logits": {"kernel": (4, 4), "bias": (4,)},
}


def layer(kind: str, name: str, after: str | None = None, **config: Any) -> dict[str, Any]:
    described = {"name": name, "trainable": True, "dtype": "float32", **config}
    nodes = [[[after, 0, 0, {}]]] if after else []
    return {"class_name": kind, "config": described, "name": name, "inbound_nodes": nodes}


def functional(*extra: dict[str, Any], last: str = "depthwise") -> dict[str, Any]:
    chain = [
        layer("InputLayer", "image", **IMAGE, ragged=False),
        layer("Conv2D", "conv", "image", **CONV),
        layer("BatchNormalization", "norm", "conv", **NORM),
        layer("ReLU", "relu", "norm", max_value=6.0, negative_slope=0.0, threshold=0.0),
        layer("DepthwiseConv2D", "depthwise", "relu", **DEPTHWISE),
        *extra,
        layer("GlobalAveragePooling2D", "pool", last, data_format="channels_last"),
        layer("Dense", "logits", "pool", units=4, activation="linear", use_bias=True),
    ]
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [["logits", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "old", "layers": chain, **ends}}


def write(path: Path, config: dict[str, Any]) -> dict[str, list[np.ndarray]]:
    """Write a file of Keras 2.11's layout; returns the weights of its layers."""
    rng = np.random.default_rng(0)
    written: dict[str, list[np.ndarray]] = {}
    described = config["config"]
    chain = described["layers"] if isinstance(described, dict) else described
    names = [part["config"]["name"] for part in chain]
    with h5py.File(path, "w") as file:
        file.attrs.update({"keras_version": "2.11.0", "backend": "tensorflow"})
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs.update({"keras_version": "2.11.0", "backend": "tensorflow"})
        group.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            weights = {f"{name}/{key}:0": shape for key, shape in WEIGHTS.get(name, {}).items()}
            part = group.create_group(name)
            part.attrs["weight_names"] = [key.encode() for key in weights]
            for key, shape in weights.items():
                values = rng.uniform(0.5, 1.5, shape).astype(np.float32)
                written.setdefault(name, []).append(values)
                part.create_dataset(key, data=values)
    return written


def check(path: Path, config: dict[str, Any]) -> Any:
    """Write and load; every weight must have arrived."""
    written = write(path, config)
    model = files.load(path)
    assert model.input_shape == (None, 12, 12, 3)
    loaded = {part.name: part.get_weights() for part in model.layers if part.weights}
    assert loaded.keys() == written.keys()
    for name, values in written.items():
        assert all(np.array_equal(a, b) for a, b in zip(loaded[name], values, strict=True))
    return model


@pytest.mark.parametrize("kind", ["Functional", "Model"])
def test_a_functional_model_is_loaded_with_its_weights(kind, tmp_path):
    model = check(tmp_path / "old.h5", {**functional(), "class_name": kind})
    assert model.output_shape == (None, 4)
    assert type(model.get_layer("depthwise")).__name__ == "DepthwiseConv2D"


def test_the_users_file_is_not_changed(tmp_path):
    write(tmp_path / "old.h5", functional())
    before = (tmp_path / "old.h5").read_bytes()
    files.load(tmp_path / "old.h5")
    assert (tmp_path / "old.h5").read_bytes() == before


@pytest.mark.parametrize("with_input_layer", [True, False])
@pytest.mark.parametrize("as_list", [True, False])
def test_a_sequential_model_gets_its_input_from_its_first_layer(
    with_input_layer, as_list, tmp_path
):
    first = layer("Conv2D", "conv", **CONV, batch_input_shape=IMAGE["batch_input_shape"])
    chain = [first, layer("Flatten", "flatten", data_format="channels_last")]
    if with_input_layer:
        chain.insert(0, layer("InputLayer", "conv_input", **IMAGE, ragged=False))
    config = chain if as_list else {"name": "sequential", "layers": chain}
    model = check(tmp_path / "old.h5", {"class_name": "Sequential", "config": config})
    assert model.output_shape == (None, 12 * 12 * 4)


def test_a_dtype_policy_is_read_by_its_name(tmp_path):
    config = functional()
    for part in config["config"]["layers"][1:]:
        part["config"]["dtype"] = {"class_name": "Policy", "config": {"name": "float32"}}
    check(tmp_path / "old.hdf5", config)


@pytest.mark.parametrize(
    ("function", "number", "expected"),
    [
        ("math.multiply", 2.0, (2.0, 0.0)),
        ("math.truediv", 4.0, (0.25, 0.0)),
        ("__operators__.add", 3.0, (1.0, 3.0)),
        ("math.subtract", 1, (1.0, -1.0)),
    ],
)
def test_an_operator_with_a_number_becomes_a_rescaling(function, number, expected, tmp_path):
    operator = layer("TFOpLambda", f"tf.{function}", function=function)
    operator["inbound_nodes"] = [["depthwise", 0, 0, {"y": number, "name": None}]]
    model = check(tmp_path / "old.h5", functional(operator, last=f"tf.{function}"))
    found = next(part for part in model.layers if type(part).__name__ == "Rescaling")
    assert (found.scale, found.offset) == expected


def test_another_operator_is_refused_by_its_name(tmp_path):
    operator = layer("TFOpLambda", "tf.nn.l2", function="nn.l2_normalize")
    operator["inbound_nodes"] = [["depthwise", 0, 0, {"axis": -1}]]
    write(tmp_path / "old.h5", functional(operator, last="tf.nn.l2"))
    with pytest.raises(ModelError, match=r"old\.h5' cannot be loaded.*TFOpLambda"):
        files.load(tmp_path / "old.h5")


def test_a_file_of_keras_3_is_taken_as_it_is(tmp_path):
    config = functional()
    for part in config["config"]["layers"]:
        part["config"].pop("groups", None)
    write(tmp_path / "new.h5", config)
    assert translated(tmp_path / "new.h5", tmp_path) == tmp_path / "new.h5"


def test_what_is_no_hdf5_file_is_refused_with_its_name(tmp_path):
    (tmp_path / "old.h5").write_bytes(b"no such thing")
    with pytest.raises(ModelError, match=r"old\.h5' cannot be loaded"):
        files.load(tmp_path / "old.h5")


def versioned(version: str | None) -> str:
    return json.dumps({"keras_version": version})


def archive(path: Path, metadata: str | None, activation: str = "hard_sigmoid") -> Path:
    """A `.keras` file of Keras 3 with other metadata, or without any."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation)])
    model.save(whole := path.with_name("whole.keras"))
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name) if name != "metadata.json" else metadata
            if content is not None:
                target.writestr(name, content)
    return path


UNKNOWN = ["dev", "", None, "nightly.3"]


@pytest.mark.parametrize("metadata", [None, "[]", "no json", *map(versioned, UNKNOWN)])
def test_an_archive_that_does_not_say_which_keras_wrote_it_is_loaded(metadata, tmp_path):
    file = archive(tmp_path / "new.keras", metadata, "relu")
    assert files.load(file).layers[-1].activation is keras.activations.relu
    file = archive(tmp_path / "gated.keras", metadata)
    with pytest.raises(ModelError, match="hard_sigmoid of Keras 2, or of 3: the file does not say"):
        files.load(file)


@pytest.mark.parametrize("version", ["dev", b"\xff"])
def test_an_h5_file_that_does_not_say_which_keras_wrote_it_is_loaded(version, tmp_path):
    for name, config in (("old", functional()), ("gated", gated())):
        write(tmp_path / f"{name}.h5", config)
        with h5py.File(tmp_path / f"{name}.h5", "r+") as file:
            file.attrs["keras_version"] = version
    assert files.load(tmp_path / "old.h5").get_layer("conv")
    with pytest.raises(ModelError, match="the file does not say which wrote it"):
        files.load(tmp_path / "gated.h5")


def gated(**options: Any) -> dict[str, Any]:
    kind, config = ("Activation", {"activation": "hard_sigmoid"})
    return functional(layer(kind, "gate", "depthwise", **{**config, **options}), last="gate")


def test_what_keras_3_computes_otherwise_is_refused_by_name(tmp_path):
    """Its hard_sigmoid has a slope of 1/6, that of Keras 2 had one of 0.2."""
    write(tmp_path / "old.h5", gated())
    with pytest.raises(ModelError, match=r"layer 'gate' has the activation hard_sigmoid of Keras"):
        files.load(tmp_path / "old.h5")
    check(tmp_path / "fine.h5", gated(activation="sigmoid"))


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_hard_sigmoid_of_keras_3_is_loaded(suffix, tmp_path):
    file = tmp_path / f"new.{suffix}"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "hard_sigmoid")])
    model.save(file)
    assert files.load(file).layers[-1].activation is keras.activations.hard_sigmoid
    if suffix == "keras":
        with zipfile.ZipFile(file) as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
            for name in new.namelist():
                content = new.read(name).replace(keras.__version__.encode(), b"2.15.0")
                old.writestr(name, content)
        with pytest.raises(ModelError, match=r"hard_sigmoid of Keras 2\.15\.0"):
            files.load(tmp_path / "old.keras")
