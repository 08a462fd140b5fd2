from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from stages.artifacts.ranges import covering
from stages.artifacts.signature import Signature
from stages.conversion.layer_parity import compare_layers
from stages.conversion.litert import write_float, write_int8
from stages.conversion.onnx.targets import int8_graph
from stages.conversion.traces import traces
from stages.engines import litert, onnxruntime
from stages.errors import ConversionUnsupported
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points, tied
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.networks import NETWORKS


@pytest.mark.parametrize(("name", "output"), [("plain", "logits"), ("separable", "probabilities")])
def test_the_file_names_its_input_and_what_it_returns(tmp_path, name, output):
    signature = replace(SIGNATURE, output=output, output_name=output)
    write_float(tmp_path / "model.tflite", fold(NETWORKS[name]()), signature)
    ((_, names),) = Interpreter(str(tmp_path / "model.tflite")).get_signature_list().items()
    assert names == {"inputs": ["image"], "outputs": [output]}


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_the_largest_values_of_volumes_are_taken_within_planes_and_then_across(tmp_path, padding):
    volume = keras.Input((5, 7, 6, 2), name="image")
    pooled = layers.MaxPooling3D((2, 3, 2), strides=(2, 1, 2), padding=padding)(volume)
    model = keras.Model(volume, layers.Dense(4)(layers.Flatten()(pooled)))
    signature = Signature((5, 7, 6, 2), tuple("abcd"), 1.0, 0.0, data_dtype="float32")
    write_float(tmp_path / "model.tflite", fold(model), signature)
    batch = np.random.default_rng(0).normal(size=(3, 5, 7, 6, 2)).astype(np.float32)
    with litert.Runner(tmp_path / "model.tflite", signature) as engine:
        assert np.allclose(engine.infer(batch), model(batch), atol=1e-5)


def passes_as_int8(folder, model, signature, batch):
    """Whether each layer of the folded model's INT8 file is what its own inputs make of it."""
    placed = points(model, signature)
    seen = keras.Model(model.inputs[0], [point.tensor for point in placed.values()])(batch)
    ranges = {name: covering(np.asarray(each)) for name, each in zip(placed, seen, strict=True)}
    for group in tied(model, placed):
        widest = max(group, key=lambda name: ranges[name].scale("litert"))
        ranges |= dict.fromkeys(group, ranges[widest])
    file = "model.int8.tflite"
    write_int8(folder / file, model, placed, ranges, signature)
    ((_, trace),) = traces(folder, {file: "litert"}, ranges, signature, batch)
    assert compare_layers(file, model, placed, ranges, trace, batch, signature).passes


@pytest.mark.parametrize("size", [2, (1, 3, 2)])
def test_averages_of_volumes_in_windows_that_do_not_overlap_are_taken_at_once(tmp_path, size):
    keras.utils.set_random_seed(0)
    volume = keras.Input((5, 7, 6, 2), name="image")
    x = layers.Conv3D(4, 1, activation="relu")(volume)
    model = fold(
        keras.Model(volume, layers.Dense(4)(layers.Flatten()(layers.AveragePooling3D(size)(x))))
    )
    signature = Signature((5, 7, 6, 2), tuple("abcd"), 1.0, 0.0, data_dtype="float32")
    batch = np.random.default_rng(0).normal(size=(3, 5, 7, 6, 2)).astype(np.float32)
    write_float(tmp_path / "model.tflite", model, signature)
    with litert.Runner(tmp_path / "model.tflite", signature) as engine:
        assert np.allclose(engine.infer(batch), model(batch), atol=1e-5)
    passes_as_int8(tmp_path, model, signature, batch)


@pytest.mark.parametrize("options", [{"strides": 1}, {"padding": "same"}])
def test_averages_of_volumes_that_would_be_rounded_twice_are_refused(tmp_path, options):
    volume = keras.Input((4, 4, 4, 2), name="image")
    x = layers.GlobalAveragePooling3D()(layers.AveragePooling3D(2, **options)(volume))
    model = fold(keras.Model(volume, layers.Dense(4)(x)))
    signature = Signature((4, 4, 4, 2), tuple("abcd"), 1.0, 0.0, data_dtype="float32")
    with pytest.raises(ConversionUnsupported, match="LiteRT cannot convert this model"):
        write_float(tmp_path / "model.tflite", model, signature)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 2), (2, 3), (5, 1)])
def test_a_transposed_convolution_of_signals_is_an_ordinary_one(tmp_path, padding, size, stride):
    signal = keras.Input((7, 3), name="image")
    x = layers.Conv1DTranspose(4, size, strides=stride, padding=padding, name="wider")(signal)
    model = keras.Model(signal, layers.Flatten()(x))
    signature = Signature((7, 3), tuple("abcd"), 1.0, 0.0, data_dtype="float32")
    write_float(tmp_path / "model.tflite", fold(model), signature)
    batch = np.random.default_rng(0).normal(size=(3, 7, 3)).astype(np.float32)
    with litert.Runner(tmp_path / "model.tflite", signature) as engine:
        assert np.allclose(engine.infer(batch), model(batch), atol=1e-5)


def test_kernels_of_volumes_that_stay_float_are_rounded_as_the_simulation_has_them(tmp_path):
    keras.utils.set_random_seed(0)
    volume = keras.Input((4, 6, 6, 2), name="image")
    x = layers.Conv3D(8, 3, padding="same", activation="relu")(volume)
    x = layers.Conv3DTranspose(8, 2, strides=2, activation="relu")(x)
    model = fold(keras.Model(volume, layers.Dense(4)(layers.GlobalAveragePooling3D()(x))))
    signature = Signature((4, 6, 6, 2), tuple("abcd"), 1.0, 0.0, data_dtype="float32")
    batch = np.random.default_rng(0).normal(size=(4, 4, 6, 6, 2)).astype(np.float32)
    passes_as_int8(tmp_path, model, signature, batch)


def test_numbers_of_unlike_units_do_not_share_the_steps_of_the_largest(tmp_path):
    """A price of 20,000 and an angle: 256 steps from zero would leave the angle one of them."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Flatten()(layers.Conv2D(8, 3, activation="relu")(image))
    model = keras.Model(image, layers.Dense(2, name="numbers")(x))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * [1000, 1], np.add(bias, [20000, 0])])
    signature = Signature((8, 8, 3), ("price", "angle"), 1.0, 0.0, data_dtype="float32")
    signature = replace(signature, task="regression", output="values")
    batch = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype(np.float32)
    folded, expected = fold(model), model(batch).numpy()
    placed = points(folded, signature)
    seen = keras.Model(folded.inputs[0], [point.tensor for point in placed.values()])(batch)
    ranges = {name: covering(np.asarray(each)) for name, each in zip(placed, seen, strict=True)}
    write_int8(tmp_path / "model.tflite", folded, placed, ranges, signature)
    onnx.save(int8_graph(folded, placed, ranges, signature, "cpu"), tmp_path / "model.onnx")
    spread = expected.std(axis=0)
    for runner, file, target in (
        (litert.Runner, "model.tflite", "litert"),
        (onnxruntime.Runner, "model.onnx", "cpu"),
    ):
        simulated = simulate(folded, placed, ranges, target)(batch).numpy()
        with runner(tmp_path / file, signature) as engine:
            found = engine.infer(batch)
        assert (np.abs(found - simulated).max(axis=0) < 0.01 * spread).all()
        assert ((found - expected).std(axis=0) < 0.05 * spread).all()
